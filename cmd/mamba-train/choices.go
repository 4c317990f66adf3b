package main

import (
	"context"
	"errors"
)

// evalChoices scores multiple-choice rows.
func (a *app) evalChoices(ctx context.Context, m *loaded, f evalFlags) error {
	return errors.New("")
}
