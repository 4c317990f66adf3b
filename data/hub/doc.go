// Package hub fetches models and data sets from Hugging Face or a mirror of it. The cache has the layout of Python's hub
// library, so that both programs use what either has downloaded.
//
// Begin with [New], which follows the HF_ environment variables, and [Client.Fetch]:
//
//	dir, err := hub.New().Fetch(ctx, hub.Request{
//		Kind: hub.Model, ID: "state-spaces/mamba-130m-hf",
//		Want: func(name string) bool { return path.Ext(name) == ".json" },
//	})
//
// Fetch returns the directory with the files and downloads what the cache lacks. A download that was interrupted resumes, is
// checked against the hash that the hub announces, and appears whole. Errors of names that lead nowhere, of refused access
// and of an unreachable hub match fault.ErrNotFound.
//
// Package hubtest is a hub for tests.
package hub
