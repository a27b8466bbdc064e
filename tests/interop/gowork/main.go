// Command gowork puts gocraft/work v0.5.1 at the disposal of tests: it enqueues, works, looks and serves the web UI
// as a Go program would that uses the library, and nothing else of it than what the library exports.
//
//	gowork -redis ADDRESS -namespace NAMESPACE VERB [ARGUMENT...]
//
//	enqueue               reads one order a line, writes one answer a line
//	work SPEC             runs a pool; SPEC is JSON, see work.go
//	client VERB [...]     what work.Client answers, as JSON
//	webui HOST:PORT       serves the web UI until SIGTERM
//	encode                reads one JSON value a line, writes what json.Encoder makes of it, in hex
//	decode                reads one payload a line, writes the job that gocraft/work reads there, or the error
//	argument              reads one {"kind", "payload"} a line, writes what a handler gets as the argument "v"
//	annotated             reads one payload a line, writes what its arguments of annotated types are in Go
//	cron                  reads one {"spec", "after", "count"} a line, writes the next firings, or the error
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

func main() {
	address := flag.String("redis", "", "unix:///path or redis://...")
	namespace := flag.String("namespace", "work", "")
	flag.Parse()
	if flag.NArg() == 0 {
		fail("a verb is wanted")
	}
	pool := connect(*address)
	verb, arguments := flag.Arg(0), flag.Args()[1:]
	switch {
	case verb == "encode":
		eachLine(encode)
	case verb == "decode":
		eachLine(decode)
	case verb == "argument":
		eachLine(argument)
	case verb == "annotated":
		eachLine(annotated)
	case verb == "cron":
		eachLine(firings)
	case verb == "enqueue":
		enqueue(*namespace, pool)
	case verb == "client" && len(arguments) > 0:
		client(*namespace, pool, arguments[0], arguments[1:])
	case verb == "webui" && len(arguments) == 1:
		serve(*namespace, pool, arguments[0])
	case verb == "work" && len(arguments) == 1:
		runPool(*namespace, pool, arguments[0])
	default:
		fail("no such verb, or wrong arguments: %s %q", verb, arguments)
	}
}

func connect(address string) *redis.Pool {
	return &redis.Pool{
		MaxIdle:     20,
		IdleTimeout: 240 * time.Second,
		Dial: func() (redis.Conn, error) {
			if strings.HasPrefix(address, "unix://") {
				path, query, _ := strings.Cut(strings.TrimPrefix(address, "unix://"), "?db=")
				conn, err := redis.Dial("unix", path)
				if err == nil && query != "" && query != "0" {
					_, err = conn.Do("SELECT", query)
				}
				return conn, err
			}
			return redis.DialURL(address)
		},
	}
}

// eachLine writes one line for each that it reads.
func eachLine(answer func(line string) string) {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			fmt.Fprintln(out, answer(strings.TrimSuffix(line, "\n")))
		}
		if err != nil || in.Buffered() == 0 {
			out.Flush()
		}
		if err != nil {
			return
		}
	}
}

func toJSON(value interface{}) string {
	encoded, err := json.Marshal(value)
	check(err)
	return string(encoded)
}

func check(err error) {
	if err != nil {
		fail("%s", err)
	}
}

func fail(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, "gowork: "+format+"\n", args...)
	os.Exit(2)
}
