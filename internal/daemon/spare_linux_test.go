package daemon

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Only what the file itself says goes: nothing that may be written, is another
// file's, is shared, or of which a page is this process's own.
func TestProgramMappings(t *testing.T) {
	const clean = "Rss: 4 kB\nPrivate_Dirty:         4 kB\nAnonymous:             0 kB\nSwap:                  0 kB\n"
	const smaps = "00400000-011f5000 r-xp 00000000 fe:00 1 /bin/daypass\n" + clean +
		"011f5000-02134000 r--p 00df5000 fe:00 1 /bin/daypass\n" + clean +
		"02134000-021d4000 rw-p 01d34000 fe:00 1 /bin/daypass\n" + clean +
		"03000000-03001000 r--p 00df5000 fe:00 1 /bin/daypass\nRss: 4 kB\nPrivate_Dirty:  4 kB\nAnonymous:  4 kB\nSwap: 0 kB\n" + // relocated
		"04000000-04001000 r--p 00df5000 fe:00 1 /bin/daypass\nRss: 4 kB\nPrivate_Dirty:  0 kB\nAnonymous:  0 kB\nSwap: 4 kB\n" +
		"05000000-05001000 r--s 00df5000 fe:00 1 /bin/daypass\n" + clean +
		"06000000-06001000 r-xp 00000000 fe:00 2 /lib/other\n" + clean +
		"07000000-07001000 r--p 00df5000 fe:00 1 /bin/daypass\nRss: 4 kB\n" + // says too little
		"c000000000-c000400000 r--p 00000000 00:00 0 \n" + clean +
		"08000000-07001000 r--p 00df5000 fe:00 1 /bin/daypass\n" + clean
	want := []mapping{{0x400000, 0x11f5000}, {0x11f5000, 0x2134000}}
	if got := programMappings([]byte(smaps), "/bin/daypass"); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// The pages go, and those that are needed come back.
func TestSparingTheProgram(t *testing.T) {
	resident := func() int {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "RssFile:")
		kb, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatal(err)
		}
		return kb
	}
	before := resident()
	spareProgram()
	if after := resident(); after > before*9/10 {
		t.Errorf("%d kB of files are resident, %d before", after, before)
	}
}
