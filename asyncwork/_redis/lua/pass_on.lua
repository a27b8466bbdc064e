-- Shared by the scripts that say `-- include pass_on`: what a duplicate leaves in a unique key that is held. With a key
-- map it is the newest job, for the one that waits; otherwise nothing. The key stays that of the job that waits, and ends
-- when it was to end: one that no job waits for any more must not live on by its duplicates. One without an end gets one.
-- include owner
local function pass_on(key, held, seconds, head, tail)
  if tail ~= '' then
    redis.call('set', key, head .. owner_of(held) .. tail, 'KEEPTTL')
  end
  if redis.call('ttl', key) < 0 then
    redis.call('expire', key, seconds)
  end
end
