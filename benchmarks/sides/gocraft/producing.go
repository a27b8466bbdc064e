package main

import (
	"sync"
	"time"

	"github.com/gocraft/work"
)

// The library has no bulk call. A Go program would use this number of concurrent goroutines.
const goroutines = 20

// The shortest time between two checks for due jobs.
const shortestPause = time.Millisecond

func (order order) enqueue(enqueuer *work.Enqueuer, index int, args work.Q) {
	args["index"] = index
	_, err := enqueuer.Enqueue(order.name(index), args)
	check(err)
}

func fill(order order) time.Duration {
	enqueuer := work.NewEnqueuer(namespace, order.connect())
	start := time.Now()
	var all sync.WaitGroup
	for first := 0; first < goroutines; first++ {
		all.Add(1)
		go func(first int) {
			defer all.Done()
			for index := first; index < order.Jobs; index += goroutines {
				order.enqueue(enqueuer, index, work.Q{})
			}
		}(first)
	}
	all.Wait()
	return time.Since(start)
}

func trickle(order order) time.Duration {
	enqueuer := work.NewEnqueuer(namespace, order.connect())
	start := time.Now()
	for index := 0; index < order.Jobs; index++ {
		order.enqueue(enqueuer, index, work.Q{})
	}
	return time.Since(start)
}

// flow enqueues jobs at a constant rate, each with the time just before.
func flow(order order) time.Duration {
	enqueuer := work.NewEnqueuer(namespace, order.connect())
	start := time.Now()
	for sent := 0; sent < order.Jobs; {
		due := 1 + int(order.Rate*time.Since(start).Seconds())
		for ; sent < due && sent < order.Jobs; sent++ {
			order.enqueue(enqueuer, sent, work.Q{"sent": time.Now().UnixNano()})
		}
		next := start.Add(time.Duration(float64(sent) / order.Rate * float64(time.Second)))
		pause := time.Until(next)
		if pause < shortestPause {
			pause = shortestPause
		}
		time.Sleep(pause)
	}
	return time.Since(start)
}
