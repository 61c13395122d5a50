package flashback

import "strings"

// sameEmail tells whether two e-mail addresses are the same but for the case of ASCII letters.
// Other letters are compared as they are: the Kelvin sign is no k.
func sameEmail(a, b string) bool { return lowerASCII(a) == lowerASCII(b) }

func lowerASCII(s string) string {
	lower := []byte(s)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

// sameID tells whether two IDs are the same, or the same UUID: servers write one in either case,
// with or without dashes and braces.
func sameID(a, b string) bool {
	if a == b {
		return true
	}
	digits := uuidDigits(a)
	return digits != "" && digits == uuidDigits(b)
}

// uuidDigits returns the 32 hexadecimal digits of a UUID, in lower case, or "" for another ID.
func uuidDigits(id string) string {
	if strings.HasPrefix(id, "{") && strings.HasSuffix(id, "}") {
		id = id[1 : len(id)-1]
	}
	if len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' {
		id = id[:8] + id[9:13] + id[14:18] + id[19:23] + id[24:]
	}
	if len(id) != 32 || strings.Trim(id, "0123456789abcdefABCDEF") != "" {
		return ""
	}
	return lowerASCII(id)
}
