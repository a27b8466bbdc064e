package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/gocraft/work"
)

// parse reads JSON as a Go program would have the values: integers are int64 (or big.Int beyond it), other numbers are
// float64. Left to itself Go would make floats of them all.
func parse(text string, into interface{}) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func typed(value interface{}) interface{} {
	switch value := value.(type) {
	case map[string]interface{}:
		for key, each := range value {
			value[key] = typed(each)
		}
	case []interface{}:
		for i, each := range value {
			value[i] = typed(each)
		}
	case json.Number:
		return number(value.String())
	}
	return value
}

func number(text string) interface{} {
	if strings.ContainsAny(text, ".eE") {
		float, err := strconv.ParseFloat(text, 64)
		check(err)
		return float
	}
	if small, err := strconv.ParseInt(text, 10, 64); err == nil {
		return small
	}
	large, ok := new(big.Int).SetString(text, 10)
	if !ok {
		fail("not a number: %s", text)
	}
	return large
}

func encode(line string) string {
	var value interface{}
	check(parse(line, &value))
	var written bytes.Buffer
	check(json.NewEncoder(&written).Encode(typed(value)))
	return hex.EncodeToString(written.Bytes())
}

// decode reads a payload as the library does: into its Job, with encoding/json.
func decode(line string) string {
	var job work.Job
	if err := json.Unmarshal([]byte(line), &job); err != nil {
		return toJSON(map[string]string{"error": err.Error()})
	}
	return toJSON(map[string]interface{}{"job": job})
}

// argument reads the argument "v" of a payload as a handler does, and tells what the job says was wrong with it.
func argument(line string) string {
	var asked struct{ Kind, Payload string }
	check(json.Unmarshal([]byte(line), &asked))
	var job work.Job
	check(json.Unmarshal([]byte(asked.Payload), &job))
	var value interface{}
	switch asked.Kind {
	case "str":
		value = job.ArgString("v")
	case "int":
		value = job.ArgInt64("v")
	case "float":
		value = job.ArgFloat64("v")
	case "bool":
		value = job.ArgBool("v")
	default:
		fail("no such kind: %q", asked.Kind)
	}
	if err := job.ArgError(); err != nil {
		return toJSON(map[string]string{"error": err.Error()})
	}
	return toJSON(map[string]interface{}{"value": value})
}

// annotated reads arguments of types that JSON lacks into Go's own types, and writes them again.
func annotated(line string) string {
	var job work.Job
	check(json.Unmarshal([]byte(line), &job))
	args, err := json.Marshal(job.Args)
	check(err)
	var read struct {
		At    time.Time
		Day   string
		Clock string
		Wait  float64
		Id    string
		Price string
		Raw   []byte
		Color string
		Lines []struct {
			Price string
			Due   *time.Time
		}
	}
	if err := json.Unmarshal(args, &read); err != nil {
		return toJSON(map[string]string{"error": err.Error()})
	}
	day, err := time.Parse("2006-01-02", read.Day)
	check(err)
	clock, err := time.Parse("15:04:05", read.Clock)
	check(err)
	price, ok := new(big.Rat).SetString(read.Price)
	if !ok {
		fail("not a decimal: %s", read.Price)
	}
	return toJSON(map[string]interface{}{
		"args":    read,
		"seconds": read.At.Unix(),
		"micros":  read.At.Nanosecond() / 1000,
		"days":    day.Unix() / 86400,
		"clock":   clock.Hour()*3600 + clock.Minute()*60 + clock.Second(),
		"wait":    time.Duration(read.Wait * float64(time.Second)).String(),
		"price":   price.FloatString(4),
		"raw":     hex.EncodeToString(read.Raw),
	})
}
