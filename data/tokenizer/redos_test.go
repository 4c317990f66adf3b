package tokenizer

import "testing"

// Expressions for which a short text can take forever are rejected; those of published tokenizers are accepted.
func TestCheckRepetition(t *testing.T) {
	for _, slow := range []string{
		`(a+)+$`, `(a*)*`, `(?:a|aa)+`, `((a+)b?)+`, `(?:(?:x{2,}))*y`, `(a|b|ab)*c`, `([^x]+)+`, `(?i:a+)+`, `((a))+(b+)+`,
	} {
		if checkRepetition(slow) == nil {
			t.Errorf("%s is accepted", slow)
		}
	}
	for _, quick := range []string{
		`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
		`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}`,
		`[0-9][0-9][0-9]`, `\d{1,3}(?=(\d{3})*\b)`, `[(+)*]+`, `\(a+\)+`, `(ab)+`, `(a+)?b`, `(a|b){2}`, `[]a]+`,
	} {
		if err := checkRepetition(quick); err != nil {
			t.Errorf("%s: %v", quick, err)
		}
	}
}
