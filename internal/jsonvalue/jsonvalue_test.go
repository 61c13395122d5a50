package jsonvalue_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flashbacknetwork/flashback-go/internal/jsonvalue"
)

type member struct{ key, value string }

func members(object string) []member {
	var all []member
	for key, value := range jsonvalue.Members([]byte(object)) {
		all = append(all, member{string(key), string(value)})
	}
	return all
}

func TestMembers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		json string
		want []member
	}{
		"of an empty object":         {` { } `, nil},
		"of an array":                {`["a"]`, nil},
		"of a string":                {`"{}"`, nil},
		"of nothing":                 {``, nil},
		"all kinds of values":        {`{"a":1,"b":"x","c":null,"d":true,"e":[1,2],"f":{"g":{}}}`, []member{{"a", "1"}, {"b", `"x"`}, {"c", "null"}, {"d", "true"}, {"e", "[1,2]"}, {"f", `{"g":{}}`}}},
		"white space everywhere":     {" {\n\t\"a\" : 1.5e3 \r\n, \"b\" : [ 1 , 2 ] } ", []member{{"a", "1.5e3"}, {"b", "[ 1 , 2 ]"}}},
		"duplicates, in their order": {`{"a":1,"a":2}`, []member{{"a", "1"}, {"a", "2"}}},
		"escaped keys":               {`{"\u0061\"":1}`, []member{{`a"`, "1"}}},
		"brackets inside strings":    {`{"a":"}]\"{","b":2}`, []member{{"a", `"}]\"{"`}, {"b", "2"}}},
		"a backslash at the end":     {`{"a":"\\","b":2}`, []member{{"a", `"\\"`}, {"b", "2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, members(tt.json))
		})
	}
}

func TestMembersAndElementsCanBeLeftEarly(t *testing.T) {
	t.Parallel()
	for key := range jsonvalue.Members([]byte(`{"a":1,"b":2}`)) {
		assert.Equal(t, "a", string(key))
		break
	}
	for element := range jsonvalue.Elements([]byte(`[1,2]`)) {
		assert.Equal(t, "1", string(element))
		break
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`"plain"`: "plain", ` "spaced" `: "spaced", `""`: "", `"\u00e4\n\""`: "ä\n\"", "\"\xff\"": "\ufffd",
	} {
		got, ok := jsonvalue.String([]byte(text))
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{`1`, `null`, `{}`, `["a"]`, ``} {
		_, ok := jsonvalue.String([]byte(text))
		assert.False(t, ok, text)
	}
}

func TestInt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{`0`: 0, ` 254 `: 254, `1.0`: 1, `1e2`: 100, `-3`: -3} {
		got, ok := jsonvalue.Int([]byte(text))
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{`1.5`, `1e400`, `"1"`, `null`, `true`, `99999999999`} {
		_, ok := jsonvalue.Int([]byte(text))
		assert.False(t, ok, text)
	}
}

// FuzzValues compares with encoding/json: a value that is taken apart and put
// together again is the same to it.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":"\\\""},null]}`, ` [ ] `, `{"":{}}`, `[[[]],"]"]`, `-0`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var want, got any
		if json.Unmarshal(data, &want) != nil {
			return
		}
		require.NoError(t, json.Unmarshal(rebuild(t, data), &got))
		assert.Equal(t, want, got)
	})
}

// rebuild takes a value apart and puts it together.
func rebuild(t *testing.T, value []byte) []byte {
	t.Helper()
	var parts [][]byte
	switch jsonvalue.Kind(value) {
	case '{':
		for key, value := range jsonvalue.Members(value) {
			name, err := json.Marshal(string(key))
			require.NoError(t, err)
			parts = append(parts, slices.Concat(name, []byte{':'}, rebuild(t, value)))
		}
		return slices.Concat([]byte{'{'}, bytes.Join(parts, []byte{','}), []byte{'}'})
	case '[':
		for element := range jsonvalue.Elements(value) {
			parts = append(parts, rebuild(t, element))
		}
		return slices.Concat([]byte{'['}, bytes.Join(parts, []byte{','}), []byte{']'})
	}
	return value
}
