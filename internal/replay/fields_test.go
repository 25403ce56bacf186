package replay

import (
	"reflect"
	"slices"
	"testing"

	"github.com/daypass/daypass/internal/access"
)

// TestEveryFieldIsCompared: whoever gives a request, a vote or a grant another
// field says here that it is compared, or why it is not.
func TestEveryFieldIsCompared(t *testing.T) {
	for _, one := range []struct {
		value  any
		fields []string
	}{
		{access.Request{}, []string{
			"ID", "ContentHash", "Content", "State", "CreatedAt", "ApproveBy", "DecidedAt", "DecidedBy", "Outcome", "Reviews", "Added", "Duty", "Grant",
			"Version",  // counts commits, which the record does not
			"Revision", // 1: there is no edit
		}},
		{access.Duty{}, []string{"Told", "Person", "Finding", "DoneAt"}},
		{access.Review{}, []string{"ID", "By", "Person", "Decision", "Stage", "ContentHash", "Duration", "CommentDigest", "At"}},
		{access.Grant{}, []string{"ID", "State", "StartsAt", "ExpiresAt", "EndedAt", "EndedReason", "EndedBy", "CleanupPending", "BreakGlass"}},
		{access.Stage{}, []string{"Name", "From", "Quorum"}},
	} {
		kind := reflect.TypeOf(one.value)
		for i := range kind.NumField() {
			if name := kind.Field(i).Name; !slices.Contains(one.fields, name) {
				t.Errorf("%s.%s is not compared", kind.Name(), name)
			}
		}
	}
}
