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

// Time after which a pool without jobs is considered idle.
const settling = time.Second

type context struct{}

// running starts a pool whose handlers call record.
func running(order order, record func(job *work.Job)) *work.WorkerPool {
	pool := work.NewWorkerPool(context{}, order.Case.Concurrency, namespace, order.connect())
	sleep := order.sleep()
	for index := 0; index < order.Case.Names; index++ {
		pool.Job(order.name(index), func(job *work.Job) error {
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
		index := job.ArgInt64("index")
		lock.Lock()
		defer lock.Unlock()
		if left == order.Jobs {
			started, before = time.Now().Add(-order.sleep()), processorTime()
		}
		runs[index]++
		left--
		if left == 0 {
			seconds, cpu = time.Since(started).Seconds(), processorTime()-before
			close(done)
		}
	})
	<-done
	pool.Stop()
	not_once := 0
	for _, each := range runs {
		if each != 1 {
			not_once++
		}
	}
	reply(map[string]interface{}{
		"seconds": seconds, "cpu": cpu, "not_once": not_once,
		"idle": idle, "after": memory("VmRSS"), "peak": memory("VmHWM"),
	})
}

func wait(order order) {
	var lock sync.Mutex
	seconds := []float64{}
	done := make(chan struct{})
	pool := running(order, func(job *work.Job) {
		now := time.Now().UnixNano()
		// Go's JSON decodes the number as a float, which is exact to 256 ns.
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

// processorTime returns the CPU time of this process so far, in seconds.
func processorTime() float64 {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// memory returns a memory size of this process in bytes; 0 if the system does not report it.
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
