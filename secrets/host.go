package secrets

import (
	"errors"
	"net"
	"regexp"
	"strconv"
	"strings"
)

var (
	hostName    = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)
	errHost     = errors.New("must be a host or host:port")
	errPort     = errors.New("the port must be a number from 1 to 65535")
	errBareIPv6 = errors.New("an IPv6 address stands in brackets: [::1] or [::1]:5432")
	errBadIPv6  = errors.New("there is no IPv6 address between the brackets")
)

// maxHostBytes is the longest host name (RFC 1035 §2.3.4), without the root's
// dot.
const maxHostBytes = 253

// SplitHost takes host, host:port, [v6] or [v6]:port apart. The host comes back
// without brackets, a missing port as 0. Errors say what is wrong with the text
// without repeating it.
func SplitHost(text string) (host string, port int, err error) {
	var digits string
	if strings.ContainsAny(text, "/@") {
		return "", 0, errHost // a URL
	}
	if rest, ok := strings.CutPrefix(text, "["); ok {
		host, rest, ok = strings.Cut(rest, "]")
		if ip := net.ParseIP(host); !ok || ip == nil || !strings.Contains(host, ":") {
			return "", 0, errBadIPv6
		}
		if rest == "" {
			return host, 0, nil
		}
		if digits, ok = strings.CutPrefix(rest, ":"); !ok {
			return "", 0, errHost
		}
	} else {
		if strings.Count(text, ":") > 1 {
			return "", 0, errBareIPv6
		}
		var hasPort bool
		host, digits, hasPort = strings.Cut(text, ":")
		if len(host) > maxHostBytes || !hostName.MatchString(host) {
			return "", 0, errHost
		}
		if !hasPort {
			return host, 0, nil
		}
	}
	port, err = strconv.Atoi(digits)
	if err != nil || port < 1 || port > 65535 || digits[0] < '1' {
		return "", 0, errPort
	}
	return host, port, nil
}
