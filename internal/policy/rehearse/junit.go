package rehearse

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Failure *junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes a verdict as the JUnit XML that CI systems read.
func (v Verdict) JUnit(w io.Writer, file string) error {
	suite := junitSuite{Name: file, Tests: len(v.Results), Failures: v.Failed}
	for _, r := range v.Results {
		c := junitCase{Name: r.Name, Class: "policy", File: file, Line: r.Line}
		if !r.Passed {
			var lines strings.Builder
			for _, d := range r.Differences {
				fmt.Fprintf(&lines, "%s: want %s, got %s\n", d.What, d.Want, d.Got)
			}
			if r.Explanation != "" {
				fmt.Fprintf(&lines, "%s\n", r.Explanation)
			}
			c.Failure = &junitFailure{Message: fmt.Sprintf("%s: want %s, got %s", r.Differences[0].What, r.Differences[0].Want, r.Differences[0].Got), Text: lines.String()}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
