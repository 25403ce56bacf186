package access

// Both returns the directory under which a vote on an older request is
// weighed: then is the directory of the catalog that the request was made
// under, now that of the catalog in force. Whoever left a group is out of it
// at once, whoever joined one since then is not in it yet for this request,
// and a tie that held at either time keeps somebody from voting (CONTRACT §4).
func Both(then, now Directory) Directory { return both{then, now} }

type both struct{ then, now Directory }

// Person counts persons as they are now, of accounts that were known then.
func (b both) Person(id string) (string, bool) {
	if _, ok := b.then.Person(id); !ok {
		return "", false
	}
	return b.now.Person(id)
}

func (b both) Member(id string, set []string) bool {
	return b.then.Member(id, set) && b.now.Member(id, set)
}

func (b both) Related(x, y string) bool {
	return b.then.Related(x, y) || b.now.Related(x, y)
}
