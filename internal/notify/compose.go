package notify

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
)

// The types of messages.
const (
	RequestPending   = "request.pending"   // to its approvers
	RequestApproved  = "request.approved"  // to the requester, as all that follow
	RequestDenied    = "request.denied"    //
	RequestExpired   = "request.expired"   // nobody decided in time
	RequestCancelled = "request.cancelled" // by somebody else than the requester, too
	GrantActive      = "grant.active"      // a scheduled window has begun
	GrantEnded       = "grant.ended"
	GlassBroken      = "break_glass.used"     // to those whom the rule names, and who review it
	ReviewDue        = "break_glass.due"      // to who reviews it, again and again
	GlassFound       = "break_glass.finding"  // to the requester and those who were told
	GlassReviewed    = "break_glass.reviewed" // the same
)

// How many characters of a user's text a message shows.
const (
	maxName    = 80
	maxReason  = 500
	maxSubject = 150
)

// ErrFacts is wrapped where facts do not make a message. Trying again cannot
// mend that, so it is Permanent too.
var ErrFacts = errors.New("not the facts of a message")

// Facts is what happened. Texts are as their authors wrote them.
type Facts struct {
	ID        string // of the message: the same in every attempt
	Type      string // one of the constants
	At        time.Time
	PublicURL string // the server's own, from its config; never from a call

	Request     string // req_…
	Grant       string // grt_…, "" where there is none
	Requester   string // user:ana
	Job         string // the run that asked, as its platform vouched for it; "" for none
	Resource    string
	Role        string // "" for a scope that was spelled out
	Scope       string // how the kind displays the scope, for when there is no role
	Duration    time.Duration
	Reason      string
	Ticket      string
	Extends     string // the grant that the request lengthens
	By          string // who decided, cancelled or ended it; "system:policy" for a rule
	Comment     string // of who decided
	Outcome     string // a sentence of the system: why it lapsed, was refused …
	ApproveBy   time.Time
	StartsAt    time.Time
	ExpiresAt   time.Time
	EndedReason string // expired, returned, revoked, policy, activation_failed
}

// Compose writes the message that f makes, to these recipients.
func Compose(f Facts, to []Recipient) (Message, error) {
	if f.ID == "" || f.Request == "" || f.Requester == "" || f.Resource == "" || f.At.IsZero() {
		return Message{}, Permanent(fmt.Errorf("%w: %s lacks an id, request, requester, resource or time", ErrFacts, f.Type))
	}
	head, lines, next := f.words()
	if head == "" {
		return Message{}, Permanent(fmt.Errorf("%w: unknown type %q", ErrFacts, f.Type))
	}
	m := Message{
		ID: f.ID, Type: f.Type, To: to, At: f.At.UTC().Truncate(time.Millisecond),
		Subject: Plain("Daypass: "+head, maxSubject),
		Link:    page(f.PublicURL, f.Request),
		Command: "daypass show " + Plain(f.Request, maxName),
	}
	text := []string{head + ".", ""}
	if len(lines) > 0 {
		text = append(append(text, lines...), "")
	}
	text = append(text, next+": "+m.Command)
	if m.Link != "" {
		text = append(text, "On the page: "+m.Link)
	}
	m.Text = strings.Join(text, "\n") + "\n"
	m.Data = f.data(m, head)
	return m, nil
}

// words returns the sentence that says it (without its full stop), the lines
// below it, and what the reader would do next.
func (f Facts) words() (head string, lines []string, next string) {
	who, by, what := name(f.Requester), name(f.By), f.what()
	line := func(label, value string, limit int) {
		if value = Plain(value, limit); value != "" {
			lines = append(lines, label+": "+value)
		}
	}
	next = "See it"
	switch f.Type {
	case RequestPending:
		head = fmt.Sprintf("%s asks for %s%s", who, what, f.length())
		if f.Extends != "" {
			head = fmt.Sprintf("%s asks to keep %s%s longer", who, what, f.length())
		}
		line("Job", f.Job, maxReason)
		line("Reason", f.Reason, maxReason)
		line("Ticket", f.Ticket, maxName)
		line("Starts", when(f.StartsAt), maxName)
		line("Open until", when(f.ApproveBy), maxName)
		next = "Review"
	case RequestApproved:
		head = "Your request for " + what + " is approved"
		line("Approved by", by, maxName)
		line("Comment", f.Comment, maxReason)
		line("From", when(f.StartsAt), maxName)
		line("Until", when(f.ExpiresAt), maxName)
	case RequestDenied:
		head = "Your request for " + what + " was denied"
		line("Denied by", by, maxName)
		line("Comment", f.Comment, maxReason)
		line("Why", f.Outcome, maxReason)
	case RequestExpired:
		head = "Your request for " + what + " lapsed: nobody decided in time"
		line("Why", f.Outcome, maxReason)
		line("Ask again", f.again(), maxReason)
	case RequestCancelled:
		head = "The request of " + who + " for " + what + " was cancelled"
		line("Cancelled by", by, maxName)
		line("Why", f.Outcome, maxReason)
	case GrantActive:
		head = "Your access to " + what + " has begun"
		line("Until", when(f.ExpiresAt), maxName)
	case GrantEnded:
		head = "Your access to " + what + " " + ended(f.EndedReason)
		line("By", by, maxName)
		line("Why", f.Comment, maxReason)
		line("Ask again", f.again(), maxReason)
	case GlassBroken:
		head = "BREAK-GLASS: " + who + " took " + what + f.length() + " before anybody agreed"
		line("Job", f.Job, maxReason)
		line("Reason", f.Reason, maxReason)
		line("Ticket", f.Ticket, maxName)
		line("Until", when(f.ExpiresAt), maxName)
		lines = append(lines, "It has to be reviewed; a deny ends what is left of the access.")
		next = "Look at it"
	case ReviewDue:
		head = "The break-glass of " + who + " (" + what + ") waits for your review"
		line("Job", f.Job, maxReason)
		line("Reason", f.Reason, maxReason)
		line("Ticket", f.Ticket, maxName)
		lines = append(lines, "Until it is reviewed they cannot break glass again.")
		next = "Review"
	case GlassFound:
		head = "The break-glass of " + who + " (" + what + ") was denied afterwards; its access is over"
		line("Denied by", by, maxName)
		line("Comment", f.Comment, maxReason)
	case GlassReviewed:
		head = "The break-glass of " + who + " (" + what + ") is reviewed"
		line("Last reviewed by", by, maxName)
		line("Comment", f.Comment, maxReason)
	default:
		return "", nil, ""
	}
	return head, lines, next
}

// what names the access: "read-orders on orders-db".
func (f Facts) what() string {
	resource := Plain(f.Resource, maxName)
	switch {
	case f.Role != "":
		return Plain(f.Role, maxName) + " on " + resource
	case f.Scope != "":
		return Plain(f.Scope, maxReason) + " on " + resource
	}
	return "access to " + resource
}

func (f Facts) length() string {
	if f.Duration <= 0 {
		return ""
	}
	return " for " + api.FormatDuration(f.Duration)
}

// again is the command that asks afresh. It names nothing that the requester
// wrote, so that it can be pasted.
func (f Facts) again() string {
	if f.Role == "" {
		return ""
	}
	s := "daypass request " + f.Resource + " --role " + f.Role
	if f.Duration > 0 {
		s += " --for " + api.FormatDuration(f.Duration)
	}
	return s + " --reason …"
}

func ended(reason string) string {
	switch reason {
	case "expired":
		return "has ended: its time is over"
	case "returned":
		return "has ended: it was given back"
	case "revoked":
		return "was revoked"
	case "policy":
		return "has ended: the policy in force does not cover it any more"
	case "activation_failed":
		return "could not be set up"
	}
	return "has ended"
}

// name shows a principal to a person: users by their bare name, all others
// with what they are. A rule of the policy is told as such.
func name(principal string) string {
	if principal == "system:policy" {
		return "a rule of the policy"
	}
	return Plain(strings.TrimPrefix(principal, "user:"), maxName)
}

// when shows an instant to a person, "" for none.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("Mon 2 Jan 2006 15:04:05 UTC")
}

// page returns where a request is shown, "" without a usable public URL.
func page(public, request string) string {
	u, err := url.Parse(public)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return ""
	}
	u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
	return u.JoinPath("requests", url.PathEscape(request)).String()
}
