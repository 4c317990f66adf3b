package recipe

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// YAML returns the configuration as YAML with every key. Parsing it gives the same configuration.
func (c *Config) YAML() ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}
