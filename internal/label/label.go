// Package label defines which labels contribute to the loss and which row predicts each of them.
package label

// Ignored is the label of a token that does not contribute to the loss. Any negative label has the same effect.
const Ignored = -100

// Counts reports whether a label is a token id. Negative labels are ignored.
func Counts[L int | int32](label L) bool { return label >= 0 }

// Target returns the label that row t of a document has to predict: the label of row t+1, or Ignored if that label
// does not count or row t is the last.
func Target[L int | int32](document []L, t int) L {
	if t+1 < len(document) && Counts(document[t+1]) {
		return document[t+1]
	}
	return Ignored
}

// Count returns the number of a document's labels that contribute to the loss. The first never does, because no row
// predicts it.
func Count[L int | int32](document []L) int {
	n := 0
	for t := range document {
		if Counts(Target(document, t)) {
			n++
		}
	}
	return n
}
