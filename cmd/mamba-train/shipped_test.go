package main

import (
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
)

// Every configuration that is shipped loads, and what it needs fits the memory that it names.
func TestShippedConfigurations(t *testing.T) {
	t.Chdir("../..")
	list := shipped(t)
	if len(list) < 40 {
		t.Fatalf("found only %v", list)
	}
	for _, path := range list {
		c, err := loadConfig(configSource{file: path})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		sizes, err := sizesOf(c.Model)
		if err != nil {
			t.Logf("%s: %v", path, err) // made by a command before the run
			continue
		}
		e, err := estimateRun(c, sizes)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if need := e.Memory.Total() + ownMemory; c.MemoryLimit > 0 && need > int64(c.MemoryLimit) {
			t.Errorf("%s: needs %v, memory_limit is %v", path, byteSize(need), c.MemoryLimit)
		}
	}
}

// shipped lists the configurations in configs, without the reference, which leaves open what must be given.
func shipped(t *testing.T) (list []string) {
	t.Helper()
	err := filepath.WalkDir("configs", func(path string, e fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".yaml" {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list, func(p string) bool { return filepath.Base(p) == "reference.yaml" })
}

// The parameters of the published sizes, as their files have them.
func TestEstimatedParameters(t *testing.T) {
	for size, want := range map[string]int{"130m": 129_135_360, "370m": 371_516_416, "790m": 793_204_224, "1.4b": 1_372_178_432, "2.8b": 2_768_345_600} {
		c := Defaults()
		sizes, err := sizesOf("state-spaces/mamba-" + size + "-hf")
		if err != nil {
			t.Fatal(err)
		}
		j, err := outline(&c, sizes)
		if err != nil {
			t.Fatal(err)
		}
		if all, trainable := j.size(); all != want || trainable != want {
			t.Errorf("%s: %d parameters, %d trainable, want %d", size, all, trainable, want)
		}
	}
	c := Defaults()
	c.LoRA = defaultLoRA()
	sizes, err := sizesOf("mamba-130m")
	if err != nil {
		t.Fatal(err)
	}
	j, err := outline(&c, sizes)
	if err != nil {
		t.Fatal(err)
	}
	if _, trainable := j.size(); trainable != 1_898_304 {
		t.Errorf("LoRA trains %d, want 1898304", trainable)
	}
}
