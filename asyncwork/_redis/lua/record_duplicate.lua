-- Shared by scripts with `-- include record_duplicate`: records a duplicate in a unique key that exists. With a key map
-- the value becomes the duplicate, to run in place of the waiting job; otherwise it stays. The owner and the expiry
-- stay as well: duplicates must not keep a key alive that has no waiting job any more. A key without an expiry gets
-- one.
-- include unique_owner
local function record_duplicate(key, value, seconds, head, tail)
  if tail ~= '' then
    redis.call('set', key, head .. owner_id(value) .. tail, 'KEEPTTL')
  end
  if redis.call('ttl', key) < 0 then
    redis.call('expire', key, seconds)
  end
end
