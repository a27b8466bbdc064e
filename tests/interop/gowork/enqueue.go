package main

import (
	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"
)

type order struct {
	How  string                 `json:"how"`
	Name string                 `json:"name"`
	Args map[string]interface{} `json:"args"`
	In   int64                  `json:"in"`
}

// enqueue answers each order with the job as the library returns it: null for a duplicate.
func enqueue(namespace string, pool *redis.Pool) {
	enqueuer := work.NewEnqueuer(namespace, pool)
	eachLine(func(line string) string {
		var order order
		check(parse(line, &order))
		var args map[string]interface{}
		if order.Args != nil {
			args = typed(order.Args).(map[string]interface{})
		}
		var answer interface{}
		var err error
		switch order.How {
		case "enqueue":
			answer, err = enqueuer.Enqueue(order.Name, args)
		case "in":
			answer, err = enqueuer.EnqueueIn(order.Name, order.In, args)
		case "unique":
			answer, err = enqueuer.EnqueueUnique(order.Name, args)
		case "unique_in":
			answer, err = enqueuer.EnqueueUniqueIn(order.Name, order.In, args)
		default:
			fail("no such way to enqueue: %q", order.How)
		}
		check(err)
		return toJSON(answer)
	})
}
