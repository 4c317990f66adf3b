package data

import (
	"fmt"
	"slices"
	"strings"

	"mambatrain/internal/ordered"
)

// shareGPTRoles maps the role names of ShareGPT messages, {"from": "human", "value": "Hello"}, to the standard ones.
var shareGPTRoles = map[string]string{
	"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bing": "assistant",
	"bard": "assistant", "model": "assistant", "system": "system", "tool": "tool", "observation": "tool",
}

// fromShareGPT returns the messages with role and content instead of from and value, and whether anything changed.
func fromShareGPT(messages []any) ([]any, bool, error) {
	isOne := func(m any) bool {
		o := m.(*ordered.Object)
		return has(o, "from") && has(o, "value") && !has(o, "role") && !has(o, "content")
	}
	if !slices.ContainsFunc(messages, isOne) {
		return messages, false, nil
	}
	converted := make([]any, len(messages))
	for i, m := range messages {
		if !isOne(m) {
			return nil, false, fmt.Errorf("message %d has no from and value, unlike the others", i)
		}
		o := &ordered.Object{}
		for _, key := range m.(*ordered.Object).Keys() {
			v, _ := m.(*ordered.Object).Get(key)
			switch key {
			case "from":
				from, _ := v.(string)
				role, ok := shareGPTRoles[strings.ToLower(from)]
				if !ok {
					return nil, false, fmt.Errorf("message %d is from %q, want human, gpt, system, or tool", i, v)
				}
				o.Set("role", role)
			case "value":
				o.Set("content", v)
			default:
				o.Set(key, v)
			}
		}
		converted[i] = o
	}
	return converted, true, nil
}

// has reports whether o has a value for key that is not null.
func has(o *ordered.Object, key string) bool {
	v, _ := o.Get(key)
	return v != nil
}
