package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"porchlight/device"
	"porchlight/policy"
)

// The words of the vocabulary as the OpenAPI document spells them. The vocabulary itself knows
// nothing of OpenAPI, so each of its types has a stand-in here.
type (
	purposeWord string
	classWord   string
	formWord    string
	opWord      string
	messageWord string
	actWord     string
)

func words(doc string, all []string) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Description: doc}
	for _, w := range all {
		s.Enum = append(s.Enum, w)
	}
	return s
}

// Schema of a purpose.
func (purposeWord) Schema(huma.Registry) *huma.Schema { return words("", policy.PurposeNames()) }

// Schema of a class of device.
func (classWord) Schema(huma.Registry) *huma.Schema { return words("", device.ClassNames()) }

// Schema of a form.
func (formWord) Schema(huma.Registry) *huma.Schema {
	var names []string
	for f := device.Form(0); f.Known(); f++ {
		names = append(names, f.String())
	}
	return words("", names)
}

// Schema of a comparison.
func (opWord) Schema(huma.Registry) *huma.Schema {
	return words("", []string{string(policy.EQ), string(policy.NE), string(policy.LT), string(policy.LE), string(policy.GT), string(policy.GE)})
}

// Schema of what a button does.
func (actWord) Schema(huma.Registry) *huma.Schema { return words("", policy.ActNames()) }

// Schema of a message's ID.
func (messageWord) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "uuid"}
}

func newRegistry() huma.Registry {
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	r.RegisterTypeAlias(reflect.TypeFor[policy.Purpose](), reflect.TypeFor[purposeWord]())
	r.RegisterTypeAlias(reflect.TypeFor[device.Class](), reflect.TypeFor[classWord]())
	r.RegisterTypeAlias(reflect.TypeFor[[]device.Class](), reflect.TypeFor[[]classWord]())
	r.RegisterTypeAlias(reflect.TypeFor[[]device.Form](), reflect.TypeFor[[]formWord]())
	r.RegisterTypeAlias(reflect.TypeFor[policy.Op](), reflect.TypeFor[opWord]())
	r.RegisterTypeAlias(reflect.TypeFor[policy.Act](), reflect.TypeFor[actWord]())
	r.RegisterTypeAlias(reflect.TypeFor[device.MessageID](), reflect.TypeFor[messageWord]())
	return r
}
