package main

import (
	"fmt"
	"os"
	"strings"
)

// readReasons reads why survivors survive: lines of a mutant's name, each
// followed by indented lines that say why nothing can notice it.
func readReasons(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	var names []string
	said := true
	for i, line := range strings.Split(string(text), "\n") {
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || strings.HasPrefix(line, "#"):
		case line != strings.TrimLeft(line, " \t"):
			if len(names) == 0 {
				return nil, fmt.Errorf("%s:%d: a reason without a mutant above it", path, i+1)
			}
			for _, name := range names {
				reasons[name] = strings.TrimSpace(reasons[name] + " " + trimmed)
			}
			said = true
		default:
			if said {
				names, said = nil, false
			}
			names = append(names, trimmed)
		}
	}
	if !said {
		return nil, fmt.Errorf("%s: %q has no reason below it", path, names[0])
	}
	return reasons, nil
}
