# Enqueues jobs from Ruby for the pool of examples/app.py. A job is a line of JSON in a Redis list.
#
#     gem install redis           # or Debian's package ruby-redis
#     ruby examples/enqueue.rb

require "json"
require "redis"
require "securerandom"

redis = Redis.new(url: ENV.fetch("ASYNCWORK_REDIS", "redis://localhost:6379/0"))
namespace = ENV.fetch("ASYNCWORK_NAMESPACE", "my_app")

def job(name, args)
  # In this order. The arguments are an object or null.
  JSON.generate(name: name, id: SecureRandom.hex(12), t: Time.now.to_i, args: args)
end

# As soon as a worker is free. The name is registered, so that the queue is listed before a pool handles it.
redis.sadd("#{namespace}:known_jobs", ["send_email"])
redis.lpush("#{namespace}:jobs:send_email", job("send_email", address: "ruby@example.com", subject: "<Grüße> & 🎉"))

# Later. The score is the time in whole epoch seconds.
redis.zadd("#{namespace}:scheduled", Time.now.to_i + 1, job("send_email", address: "later@example.com"))

# Many at once, in one round trip.
jobs = (1..100).map { |n| job("send_email", address: "#{n}@example.com", customer_id: n) }
redis.lpush("#{namespace}:jobs:send_email", jobs)

puts "enqueued #{jobs.size + 2} jobs"
