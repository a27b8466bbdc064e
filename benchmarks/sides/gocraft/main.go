// Command gocraft is gocraft/work's producer and worker for the benchmarks: it reads an order, a line of JSON, from
// standard input and writes results to standard output, as benchmarks/orders.py has them.
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

// name is that of the job at a place: all names in turn.
func (order order) name(place int) string {
	return fmt.Sprintf("job%d", place%order.Case.Names)
}

// sleep is how long each job does.
func (order order) sleep() time.Duration {
	return time.Duration(order.Case.Sleep * float64(time.Second))
}

// connect returns a pool that keeps a connection for each worker, so that none waits for another's.
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
		check(fmt.Errorf("no such order: %q", order.What))
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
