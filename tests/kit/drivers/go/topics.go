package main

import (
	"regexp"
	"strings"
)

const longest = 200

var (
	topicGrammar   = regexp.MustCompile(`\A[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\z`)
	patternGrammar = regexp.MustCompile(`\A([A-Za-z0-9-]+|[=+])(\.([A-Za-z0-9-]+|[=+]))*\z`)
)

func isTopic(text string) bool   { return len(text) <= longest && topicGrammar.MatchString(text) }
func isPattern(text string) bool { return len(text) <= longest && patternGrammar.MatchString(text) }

func checkTopic(topic string) error {
	if !isTopic(topic) {
		return fail("invalid-topic", "the topic breaks the grammar")
	}
	return nil
}

func checkPattern(pattern string) error {
	if !isPattern(pattern) {
		return fail("invalid-pattern", "the pattern breaks the grammar")
	}
	return nil
}

// matches keeps, term by term, which numbers of words the terms so far can match (TOPIC-7).
func matches(pattern, topic string) bool {
	words := strings.Split(topic, ".")
	reached := make([]bool, len(words)+1)
	reached[0] = true
	for _, term := range strings.Split(pattern, ".") {
		next := make([]bool, len(words)+1)
		for n, word := range words {
			fits := term == "=" || term == "+" || term == word
			next[n+1] = fits && reached[n] || term == "+" && next[n]
		}
		reached = next
	}
	return reached[len(words)]
}
