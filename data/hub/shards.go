package hub

import (
	"fmt"
	"regexp"
)

// shardName matches the end of a name such as train-00000-of-00005.parquet.
var shardName = regexp.MustCompile(`^(.*)-(\d+)-of-(\d+)(\.\w+)+$`)

// AllShards reports whether names contains every shard, for names that give the number of shards.
func AllShards(names []string) bool {
	have := map[string]int{}
	want := map[string]string{}
	for _, n := range names {
		if m := shardName.FindStringSubmatch(n); m != nil {
			have[m[1]]++
			want[m[1]] = m[3]
		}
	}
	for key, n := range have {
		if fmt.Sprintf("%0*d", len(want[key]), n) != want[key] {
			return false
		}
	}
	return true
}
