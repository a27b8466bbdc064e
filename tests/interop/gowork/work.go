package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"
)

// spec says what a pool does.
type spec struct {
	Concurrency uint                `json:"concurrency"`
	Jobs        map[string]jobSpec  `json:"jobs"`
	Periodic    []map[string]string `json:"periodic"` // each with "spec" and "name"
	// A Redis list that tells each start and end of a job, as JSON.
	Record string `json:"record"`
	// Run what is there, then stop.
	Drain bool `json:"drain"`
	// Have idle workers look at their queues all the time; left to themselves they sleep up to 5 s.
	Attentive bool `json:"attentive"`
	// Start when the clock's second is so far gone (seconds); 0 for at once.
	Phase float64 `json:"phase"`
}

// jobSpec says what becomes of the jobs of one name, and the options under which it is registered.
type jobSpec struct {
	Fails   int64  `json:"fails"`   // so many attempts fail; all of them when negative
	Error   string `json:"error"`   // with this text
	Panic   bool   `json:"panic"`   // by a panic
	Until   string `json:"until"`   // runs until this Redis key exists
	Sleep   int64  `json:"sleep"`   // or for so many milliseconds
	Checkin string `json:"checkin"` // tells this
	Crash   bool   `json:"crash"`   // kills its process

	Priority       uint   `json:"priority"`
	MaxFails       uint   `json:"max_fails"`
	SkipDead       bool   `json:"skip_dead"`
	MaxConcurrency uint   `json:"max_concurrency"`
	Backoff        *int64 `json:"backoff"` // seconds; null for the library's own
}

type context struct{}

type event struct {
	Event string                 `json:"event"` // "start" or "end"
	By    string                 `json:"by"`
	Pid   int                    `json:"pid"`
	Name  string                 `json:"name"`
	ID    string                 `json:"id"`
	Args  map[string]interface{} `json:"args"`
	Fails int64                  `json:"fails"`
	At    float64                `json:"at"`
}

func runPool(namespace string, pool *redis.Pool, text string) {
	var spec spec
	check(json.Unmarshal([]byte(text), &spec))
	workers := work.NewWorkerPool(context{}, spec.Concurrency, namespace, pool)
	for name, each := range spec.Jobs {
		each := each
		options := work.JobOptions{
			Priority:       each.Priority,
			MaxFails:       each.MaxFails,
			SkipDead:       each.SkipDead,
			MaxConcurrency: each.MaxConcurrency,
		}
		if each.Backoff != nil {
			options.Backoff = func(*work.Job) int64 { return *each.Backoff }
		}
		workers.JobWithOptions(name, options, func(job *work.Job) error { return each.run(job, pool, spec.Record) })
	}
	for _, each := range spec.Periodic {
		workers.PeriodicallyEnqueue(each["spec"], each["name"])
	}
	if spec.Phase > 0 {
		now := time.Now()
		second := now.Truncate(time.Second).Add(time.Duration(spec.Phase * float64(time.Second)))
		if second.Before(now) {
			second = second.Add(time.Second)
		}
		time.Sleep(time.Until(second))
	}

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	workers.Start()
	fmt.Println("ready", registered(namespace, pool))
	if spec.Drain {
		workers.Drain()
	} else if wait(workers, signals, spec.Attentive) == "drain" {
		workers.Drain()
	}
	workers.Stop()
}

// wait returns when the pool is to end: by the word "drain" from standard input, or by SIGTERM.
func wait(workers *work.WorkerPool, signals chan os.Signal, attentive bool) string {
	ended := make(chan string, 2)
	go func() { <-signals; ended <- "" }()
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			ended <- in.Text()
		}
	}()
	// To drain a pool is to have each worker look, however long it would have slept; it goes on afterwards.
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for attentive && len(ended) == 0 {
			workers.Drain()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	word := <-ended
	ended <- word
	// A handler that hangs keeps it from ending.
	select {
	case <-looked:
	case <-time.After(time.Second):
	}
	return word
}

// registered waits until this process's pool is, and returns its id.
func registered(namespace string, pool *redis.Pool) string {
	client := work.NewClient(namespace, pool)
	for {
		heartbeats, err := client.WorkerPoolHeartbeats()
		check(err)
		for _, each := range heartbeats {
			if each.Pid == os.Getpid() {
				return each.WorkerPoolID
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func (spec jobSpec) run(job *work.Job, pool *redis.Pool, record string) error {
	tell := func(what string) {
		at := float64(time.Now().UnixNano()) / 1e9
		command(pool, "RPUSH", record, toJSON(event{what, "go", os.Getpid(), job.Name, job.ID, job.Args, job.Fails, at}))
	}
	tell("start")
	if spec.Crash {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if spec.Checkin != "" {
		job.Checkin(spec.Checkin)
	}
	for spec.Until != "" {
		found, err := redis.Bool(command(pool, "EXISTS", spec.Until), nil)
		check(err)
		if found {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(time.Duration(spec.Sleep) * time.Millisecond)
	tell("end")
	if spec.Fails < 0 || job.Fails < spec.Fails {
		text := spec.Error
		if text == "" {
			text = "failure " + strconv.FormatInt(job.Fails+1, 10)
		}
		if spec.Panic {
			panic(text)
		}
		return errors.New(text)
	}
	return nil
}

func command(pool *redis.Pool, name string, args ...interface{}) interface{} {
	conn := pool.Get()
	defer conn.Close()
	answer, err := conn.Do(name, args...)
	check(err)
	return answer
}
