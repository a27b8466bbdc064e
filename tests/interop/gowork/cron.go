package main

import (
	"encoding/json"
	"time"

	"github.com/robfig/cron"
)

// firings tells when a spec fires, as the library that gocraft/work v0.5.1 plans by says; epoch seconds.
func firings(line string) string {
	var asked struct {
		Spec  string `json:"spec"`
		After int64  `json:"after"`
		Count int    `json:"count"`
	}
	check(json.Unmarshal([]byte(line), &asked))
	schedule, err := cron.Parse(asked.Spec)
	if err != nil {
		return toJSON(map[string]string{"error": err.Error()})
	}
	found := []int64{}
	at := time.Unix(asked.After, 0)
	for len(found) < asked.Count {
		at = schedule.Next(at)
		if at.IsZero() {
			break
		}
		found = append(found, at.Unix())
	}
	return toJSON(map[string]interface{}{"firings": found})
}
