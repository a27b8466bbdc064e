package main

import (
	"sync"
	"time"

	"github.com/gocraft/work"
)

// The library has no call that enqueues many jobs. So many goroutines at once are how a Go program would do it.
const goroutines = 20

// A turn is the least time between two looks at what is due.
const turn = time.Millisecond

func (order order) enqueue(enqueuer *work.Enqueuer, place int, args work.Q) {
	args["place"] = place
	_, err := enqueuer.Enqueue(order.name(place), args)
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
			for place := first; place < order.Jobs; place += goroutines {
				order.enqueue(enqueuer, place, work.Q{})
			}
		}(first)
	}
	all.Wait()
	return time.Since(start)
}

func trickle(order order) time.Duration {
	enqueuer := work.NewEnqueuer(namespace, order.connect())
	start := time.Now()
	for place := 0; place < order.Jobs; place++ {
		order.enqueue(enqueuer, place, work.Q{})
	}
	return time.Since(start)
}

// flow enqueues jobs as they are due, with the time just before that in each.
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
		if pause < turn {
			pause = turn
		}
		time.Sleep(pause)
	}
	return time.Since(start)
}
