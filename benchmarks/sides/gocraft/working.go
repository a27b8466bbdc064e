package main

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gocraft/work"
)

// Time in which a pool that has nothing to do comes to rest.
const settling = time.Second

type context struct{}

// running starts a pool, each of whose handlers calls record.
func running(order order, record func(job *work.Job)) *work.WorkerPool {
	pool := work.NewWorkerPool(context{}, order.Case.Concurrency, namespace, order.connect())
	sleep := order.sleep()
	for place := 0; place < order.Case.Names; place++ {
		pool.Job(order.name(place), func(job *work.Job) error {
			if sleep > 0 {
				time.Sleep(sleep)
			}
			record(job)
			return nil
		})
	}
	pool.Start()
	return pool
}

func drain(order order) {
	var lock sync.Mutex
	runs := make([]byte, order.Jobs)
	left := order.Jobs
	done := make(chan struct{})
	var seconds, cpu float64
	idle := memory("VmRSS")
	var started time.Time
	var before float64
	pool := running(order, func(job *work.Job) {
		place := job.ArgInt64("place")
		lock.Lock()
		defer lock.Unlock()
		if left == order.Jobs {
			started, before = time.Now().Add(-order.sleep()), processorTime()
		}
		runs[place]++
		left--
		if left == 0 {
			seconds, cpu = time.Since(started).Seconds(), processorTime()-before
			close(done)
		}
	})
	<-done
	pool.Stop()
	astray := 0
	for _, each := range runs {
		if each != 1 {
			astray++
		}
	}
	reply(map[string]interface{}{
		"seconds": seconds, "cpu": cpu, "astray": astray,
		"idle": idle, "after": memory("VmRSS"), "peak": memory("VmHWM"),
	})
}

func wait(order order) {
	var lock sync.Mutex
	seconds := []float64{}
	done := make(chan struct{})
	pool := running(order, func(job *work.Job) {
		now := time.Now().UnixNano()
		// Go's JSON makes a float of the number, which is exact to 256 ns.
		sent := job.ArgFloat64("sent")
		lock.Lock()
		defer lock.Unlock()
		seconds = append(seconds, (float64(now)-sent)/1e9)
		if len(seconds) == order.Jobs {
			close(done)
		}
	})
	time.Sleep(settling)
	idle := memory("VmRSS")
	reply("waiting")
	<-done
	pool.Stop()
	reply(map[string]interface{}{"seconds": seconds, "idle": idle})
}

// processorTime is the CPU of this process so far, in seconds.
func processorTime() float64 {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// memory is a size of this process in bytes; 0 where the system does not tell.
func memory(field string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, field+":") {
			kilobytes, err := strconv.ParseInt(strings.Fields(line)[1], 10, 64)
			check(err)
			return kilobytes * 1024
		}
	}
	return 0
}
