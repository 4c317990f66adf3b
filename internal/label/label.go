// Package label has the rule of which labels enter the loss and which row predicts each of them.
package label

// Ignored is the label of a token that does not enter the loss. Every negative label means the same.
const Ignored = -100

// Counts reports whether a label is a token id. Negative labels are ignored.
func Counts[L int | int32](label L) bool { return label >= 0 }

// Target returns the label that row t of a document has to predict: that of row t+1, or Ignored if that one does not
// count or row t is the last.
func Target[L int | int32](document []L, t int) L {
	if t+1 < len(document) && Counts(document[t+1]) {
		return document[t+1]
	}
	return Ignored
}

// Count returns the number of labels of a document that enter the loss. The first one never does: no row predicts it.
func Count[L int | int32](document []L) int {
	n := 0
	for t := range document {
		if Counts(Target(document, t)) {
			n++
		}
	}
	return n
}
