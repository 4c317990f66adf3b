// Package hub downloads models and datasets from Hugging Face or a mirror. The cache has the layout of Python's
// huggingface_hub library, so that either program can use what the other has downloaded.
//
// Start with [New], which follows the HF_ environment variables, and [Client.Fetch]:
//
//	dir, err := hub.New().Fetch(ctx, hub.Request{
//		Kind: hub.Model, ID: "state-spaces/mamba-130m-hf",
//		Want: func(name string) bool { return path.Ext(name) == ".json" },
//	})
//
// Fetch returns the directory with the files and downloads those missing from the cache. It resumes interrupted
// downloads, checks them against the hash from the hub, and stores each file atomically. Errors for names that do not
// exist, denied access, and an unreachable hub match fault.ErrNotFound.
//
// Package hubtest provides a hub for tests.
package hub
