package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/pawlhq/pawl/secrets"
)

// maxBytes bounds a configuration file: room for 50,000 secrets.
const maxBytes = 8 << 20

// maxNesting bounds brackets within brackets: the parser's time and memory grow
// with the square of the depth.
const maxNesting = 32

// Load reads and validates a configuration file. Paths in it are relative to
// its folder. One that Find found in the working directory may name a program, or
// use the caller's AWS credentials, only if nobody else than the user and root can
// write it. Errors are Invalid; those about the file's content hold Problems, all
// of them, one a line.
func Load(path string) (*Config, error) {
	src, info, err := read(path)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "configuration file: %w", err)
	}
	c, err := Parse(src, path)
	if err == nil && c.Store.Postgres != nil && c.Store.Postgres.HasPassword() && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, secrets.Errorf(secrets.Invalid, "configuration file %s has a password in store.postgres.dsn, and can be used by others than its owner (mode %04o)", path, info.Mode().Perm()).
			WithHint("move the password to a file of its own and name it: password_file; or run: chmod 600 %s", path)
	}
	if err == nil && path == DefaultFile && !trusted(info, os.Geteuid()) {
		if does := c.asCaller(); does != "" {
			return nil, secrets.Errorf(secrets.Invalid, "configuration file ./%s %s, and belongs to another user or can be written by everybody", DefaultFile, does).
				WithHint("if you trust it: --config ./%s; else work in another folder", DefaultFile)
		}
	}
	return c, err
}

// asCaller says what the file has done in the name of whoever runs Pawl; "" =
// nothing. Whoever works in somebody else's folder must not run that one's
// programs, nor lend him credentials: a superuser's password goes where the file
// says.
func (c *Config) asCaller() string {
	const program, credentials = "names a program (%s)", "uses your AWS credentials (%s)"
	switch {
	case c.Store.SQLite != nil && len(c.Store.SQLite.KeyCommand) > 0:
		return fmt.Sprintf(program, "store.sqlite.key_command")
	case c.Store.Postgres != nil && len(c.Store.Postgres.KeyCommand) > 0:
		return fmt.Sprintf(program, "store.postgres.key_command")
	case c.Store.Postgres != nil && !c.Store.Postgres.HasPassword():
		return "logs in to a database in your name (store.postgres)"
	case len(c.Regions) > 0:
		return "sends secrets to other servers (regions)"
	case c.Functions != nil && slices.ContainsFunc(c.Functions.Named, func(f Function) bool { return len(f.Command) > 0 }):
		return fmt.Sprintf(program, "functions.named")
	case c.Functions != nil:
		return fmt.Sprintf(credentials, "functions")
	case c.Store.AWS != nil:
		return fmt.Sprintf(credentials, "store.aws")
	case c.KMS != nil:
		return fmt.Sprintf(credentials, "aws_kms")
	}
	return ""
}

// Parse is Load for a text that is to be the file at path, which need not be
// there.
func Parse(text []byte, path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "configuration file %s: %w", path, err)
	}
	return parse(text, path, abs)
}

func read(path string) (src []byte, info fs.FileInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	src, err = io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(src) > maxBytes {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxBytes>>20)
	}
	return src, info, err
}

// parse reads the text of a file that the caller calls name and that lies at
// the absolute path abs.
func parse(src []byte, name, abs string) (*Config, error) {
	body, problem := parseYAML(src)
	if problem != nil {
		problem.File = name
		return nil, Problems{*problem}.err()
	}
	var file fileYAML
	d := newDecoder(name)
	if body != nil {
		d.decode(body, &file)
	}
	c := validate(file, d, abs)
	if err := d.problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// parseYAML returns the root of the file's one document, nil for an empty one.
// The library's errors quote the source; only their place and, where it quotes
// nothing, their message is kept.
func parseYAML(src []byte) (body ast.Node, problem *Problem) {
	defer func() {
		// A file must never be able to end a running daemon, whatever it makes
		// the parser do.
		if recover() != nil {
			body, problem = nil, &Problem{Text: "not valid YAML"}
		}
	}()
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	if !utf8.Valid(src) || bytes.IndexByte(src, 0) >= 0 {
		return nil, &Problem{Text: "not a text file; save it as UTF-8"}
	}
	tokens := lexer.Tokenize(string(src))
	if deep := tooDeep(tokens); deep != nil {
		return nil, at(deep, fmt.Sprintf("nested more than %d deep", maxNesting))
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var e yaml.Error
		if errors.As(err, &e) {
			return nil, at(e.GetToken(), "not valid YAML"+harmless(e.GetMessage()))
		}
		return nil, &Problem{Text: "not valid YAML"}
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			return nil, at(doc.Body.GetToken(), "a second document; a configuration is one document, without ---")
		}
		body = doc.Body
	}
	return body, nil
}

func at(t *token.Token, text string) *Problem {
	p := &Problem{Text: text}
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	return p
}

var quotedMarks = regexp.MustCompile(`'[\[\]{},:]'`)

// harmless returns a parser's message to append, or "" for one that quotes
// something of the file other than a punctuation mark of YAML.
func harmless(message string) string {
	message = strings.ReplaceAll(message, "'\t'", "TAB")
	if message == "" || strings.ContainsAny(quotedMarks.ReplaceAllString(message, ""), "'\"`") {
		return ""
	}
	return ": " + message
}

// tooDeep returns the token at which brackets, or list items and keys opened on
// one line, are nested too deep; nil if none is.
func tooDeep(tokens token.Tokens) *token.Token {
	var brackets, opened, line int
	for _, t := range tokens {
		if t.Position.Line != line {
			line, opened = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			brackets++
		case token.MappingEndType, token.SequenceEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			opened++
		}
		if brackets > maxNesting || opened > maxNesting {
			return t
		}
	}
	return nil
}
