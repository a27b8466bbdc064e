// Command gocraft is gocraft/work's producer and worker for the benchmarks. It reads an order, one line of JSON, from
// standard input and writes results to standard output. benchmarks/orders.py defines both.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/gomodule/redigo/redis"
)

const namespace = "bench"

type order struct {
	What    string  `json:"what"`
	URL     string  `json:"url"`
	Jobs    int     `json:"jobs"`
	Rate    float64 `json:"rate"`
	Waiting int     `json:"waiting"`
	Case    struct {
		Concurrency uint    `json:"concurrency"`
		Names       int     `json:"names"`
		Sleep       float64 `json:"sleep"`
	} `json:"case"`
}

// name returns the job name of an index; the names take turns.
func (order order) name(index int) string {
	return fmt.Sprintf("job%d", index%order.Case.Names)
}

// sleep returns how long each job sleeps.
func (order order) sleep() time.Duration {
	return time.Duration(order.Case.Sleep * float64(time.Second))
}

// connect returns a connection pool with a connection for each worker, so that no worker waits for one.
func (order order) connect() *redis.Pool {
	return &redis.Pool{
		MaxIdle:     int(order.Case.Concurrency) + 10,
		IdleTimeout: 240 * time.Second,
		Dial:        func() (redis.Conn, error) { return redis.DialURL(order.URL) },
	}
}

func main() {
	var order order
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	check(err)
	check(json.Unmarshal(line, &order))
	switch order.What {
	case "fill":
		reply(fill(order).Seconds())
	case "trickle":
		reply(trickle(order).Seconds())
	case "flow":
		reply(flow(order).Seconds())
	case "drain":
		drain(order)
	case "wait":
		wait(order)
	default:
		check(fmt.Errorf("unknown order: %q", order.What))
	}
}

func reply(result interface{}) {
	check(json.NewEncoder(os.Stdout).Encode(result))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "gocraft:", err)
		os.Exit(2)
	}
}
