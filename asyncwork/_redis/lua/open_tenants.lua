-- Gives those tenants of a fair queue a turn whose next token has come, or whose rest has ended. Idempotent.
-- KEYS    the keys of the fair queue, as `tenants` reads them
-- ARGV    1
-- Returns {opened, next}: how many there were, and in how many microseconds the next one may go on, 0 if none waits for
--         that.
-- include tenants
-- include allow_when_oom
local q = fair_queues[1]
allow_when_oom(q.plain)
read_options(q)
local opened = open_due(q)
q.wakes = false
local micros = next_opening(q)
settle_tenants()
return {opened, micros}
