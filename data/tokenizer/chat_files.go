package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"mambatrain/internal/contenthash"
	"mambatrain/internal/inputfile"
)

// ChatTemplateFile contains the default chat template.
const ChatTemplateFile = "chat_template.jinja"

// DefaultTemplate is the name of the chat template for all conversations.
const DefaultTemplate = "default"

// toolTemplate is the name of the chat template for conversations with tools.
const toolTemplate = "tool_use"

// NamedTemplate is a chat template and the name that tokenizer_config.json or its file gives it.
type NamedTemplate struct {
	Name string `json:"name"`
	Text string `json:"template"`
}

const (
	namedTemplates = "additional_chat_templates" // the directory of the templates with other names than the default's
	templateSuffix = ".jinja"
)

// IsTemplateFile reports whether a file in a tokenizer's directory, named with slashes, contains a chat template.
func IsTemplateFile(name string) bool {
	return name == ChatTemplateFile || path.Dir(name) == namedTemplates && path.Ext(name) == templateSuffix
}

// ChatTemplates returns all chat templates of the tokenizer, including those that mamba-train does not use.
func (t *Tokenizer) ChatTemplates() []NamedTemplate { return t.settings.templates }

// template returns the text of a chat template, or "" if the tokenizer has none with this name.
func (c *tokenizerConfig) template(name string) (text string) {
	for _, t := range c.templates {
		if t.Name == name {
			text = t.Text
		}
	}
	return text
}

// loadChatTemplates reads the templates from their files. Without such files, tokenizer_config.json has a string or
// named templates.
func (t *Tokenizer) loadChatTemplates(dir string, read reader, inConfig json.RawMessage) (err error) {
	if t.settings.templates, err = templateFiles(dir, read); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	if len(t.settings.templates) == 0 {
		if t.settings.templates, err = configuredTemplates(inConfig); err != nil {
			return fmt.Errorf("tokenizer: %s: chat_template: %w", filepath.Join(dir, configFile), err)
		}
		return nil
	}
	t.digest = contenthash.Sum([]byte(t.digest), []byte(t.settings.template(DefaultTemplate)))
	if tools := t.settings.template(toolTemplate); tools != "" {
		t.digest = contenthash.Sum([]byte(t.digest), []byte(tools))
	}
	return nil
}

// TemplateFiles reads the chat templates in their own files in a tokenizer's directory.
func TemplateFiles(dir string) ([]NamedTemplate, error) { return templateFiles(dir, inDirectory(dir)) }

func templateFiles(dir string, read reader) (list []NamedTemplate, err error) {
	files := []string{ChatTemplateFile}
	entries, err := os.ReadDir(filepath.Join(dir, namedTemplates))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if name := path.Join(namedTemplates, e.Name()); IsTemplateFile(name) {
			files = append(files, name)
		}
	}
	for _, file := range files {
		raw, err := read(file, inputfile.MaxConfig)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		name := DefaultTemplate
		if file != ChatTemplateFile {
			name = strings.TrimSuffix(path.Base(file), templateSuffix)
		}
		list = append(list, NamedTemplate{name, string(raw)})
	}
	return list, nil
}

// configuredTemplates reads the value of chat_template: a text, a list of named templates, or an object of texts by name.
func configuredTemplates(raw json.RawMessage) (list []NamedTemplate, err error) {
	var text string
	if len(raw) == 0 || json.Unmarshal(raw, &text) == nil {
		if text != "" {
			list = []NamedTemplate{{DefaultTemplate, text}}
		}
		return list, nil
	}
	if json.Unmarshal(raw, &list) == nil {
		return list, nil
	}
	byName, err := parseSettings(raw)
	for _, name := range byName.keys {
		if err == nil {
			err = json.Unmarshal(byName.values[name], &text)
		}
		list = append(list, NamedTemplate{name, text})
	}
	if err != nil {
		return nil, errors.New("want a text, or texts by name")
	}
	return list, nil
}
