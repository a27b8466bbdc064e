package main

import (
	"fmt"
	"strconv"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"
)

func client(namespace string, pool *redis.Pool, verb string, arguments []string) {
	client := work.NewClient(namespace, pool)
	argument := func(i int) string {
		if i >= len(arguments) {
			fail("client %s wants more arguments", verb)
		}
		return arguments[i]
	}
	number := func(i int) int64 {
		value, err := strconv.ParseInt(argument(i), 10, 64)
		check(err)
		return value
	}
	var answer interface{}
	var err error
	page := func(jobs interface{}, count int64, failed error) {
		answer, err = map[string]interface{}{"jobs": jobs, "count": count}, failed
	}
	switch verb {
	case "queues":
		answer, err = client.Queues()
	case "heartbeats":
		answer, err = client.WorkerPoolHeartbeats()
	case "observations":
		answer, err = client.WorkerObservations()
	case "retry":
		jobs, count, failed := client.RetryJobs(uint(number(0)))
		page(jobs, count, failed)
	case "scheduled":
		jobs, count, failed := client.ScheduledJobs(uint(number(0)))
		page(jobs, count, failed)
	case "dead":
		jobs, count, failed := client.DeadJobs(uint(number(0)))
		page(jobs, count, failed)
	case "retry-dead":
		err = client.RetryDeadJob(number(0), argument(1))
	case "retry-all-dead":
		err = client.RetryAllDeadJobs()
	case "delete-dead":
		err = client.DeleteDeadJob(number(0), argument(1))
	case "delete-all-dead":
		err = client.DeleteAllDeadJobs()
	case "delete-scheduled":
		err = client.DeleteScheduledJob(number(0), argument(1))
	case "delete-retry":
		err = client.DeleteRetryJob(number(0), argument(1))
	default:
		fail("the client has no verb %q", verb)
	}
	if err != nil {
		fmt.Println(toJSON(map[string]string{"error": err.Error()}))
		return
	}
	fmt.Println(toJSON(map[string]interface{}{"answer": answer}))
}
