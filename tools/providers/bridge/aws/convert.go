package main

import (
	"fmt"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/vendored/tfplugin5"
)

// Values, paths, diagnostics and schemas of plugin protocol 5 as those of protocol 6. The enums of both have the same
// numbers.

func out(v *tfprotov6.DynamicValue) *tfplugin5.DynamicValue {
	if v == nil {
		return nil
	}
	return &tfplugin5.DynamicValue{Msgpack: v.MsgPack, Json: v.JSON}
}

func in(v *tfplugin5.DynamicValue) *tfprotov6.DynamicValue {
	if v == nil {
		return nil
	}
	return &tfprotov6.DynamicValue{MsgPack: v.Msgpack, JSON: v.Json}
}

func attributePath(p *tfplugin5.AttributePath) *tftypes.AttributePath {
	if p == nil || len(p.Steps) == 0 {
		return nil
	}
	path := tftypes.NewAttributePath()
	for _, s := range p.Steps {
		switch s := s.Selector.(type) {
		case *tfplugin5.AttributePath_Step_AttributeName:
			path = path.WithAttributeName(s.AttributeName)
		case *tfplugin5.AttributePath_Step_ElementKeyString:
			path = path.WithElementKeyString(s.ElementKeyString)
		case *tfplugin5.AttributePath_Step_ElementKeyInt:
			path = path.WithElementKeyInt(int(s.ElementKeyInt))
		}
	}
	return path
}

func diags(in []*tfplugin5.Diagnostic) []*tfprotov6.Diagnostic {
	var list []*tfprotov6.Diagnostic
	for _, d := range in {
		list = append(list, &tfprotov6.Diagnostic{
			Severity: tfprotov6.DiagnosticSeverity(d.Severity), Summary: d.Summary,
			Detail: d.Detail, Attribute: attributePath(d.Attribute),
		})
	}
	return list
}

func schemas(in map[string]*tfplugin5.Schema) (map[string]*tfprotov6.Schema, error) {
	all := map[string]*tfprotov6.Schema{}
	for name, s := range in {
		converted, err := tfSchema(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = converted
	}
	return all, nil
}

func tfSchema(s *tfplugin5.Schema) (*tfprotov6.Schema, error) {
	if s == nil {
		return nil, nil
	}
	block, err := tfBlock(s.Block)
	return &tfprotov6.Schema{Version: s.Version, Block: block}, err
}

func tfBlock(b *tfplugin5.Schema_Block) (*tfprotov6.SchemaBlock, error) {
	if b == nil {
		return &tfprotov6.SchemaBlock{}, nil
	}
	block := &tfprotov6.SchemaBlock{
		Version: b.Version, Description: b.Description,
		DescriptionKind: tfprotov6.StringKind(b.DescriptionKind), Deprecated: b.Deprecated,
	}
	for _, a := range b.Attributes {
		//nolint:staticcheck // the only reader of this wire form of types
		typ, err := tftypes.ParseJSONType(a.Type)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Name, err)
		}
		block.Attributes = append(block.Attributes, &tfprotov6.SchemaAttribute{
			Name: a.Name, Type: typ,
			Description: a.Description, DescriptionKind: tfprotov6.StringKind(a.DescriptionKind),
			Required: a.Required, Optional: a.Optional, Computed: a.Computed,
			Sensitive: a.Sensitive, Deprecated: a.Deprecated, WriteOnly: a.WriteOnly,
		})
	}
	for _, n := range b.BlockTypes {
		inner, err := tfBlock(n.Block)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.TypeName, err)
		}
		block.BlockTypes = append(block.BlockTypes, &tfprotov6.SchemaNestedBlock{
			TypeName: n.TypeName, Block: inner, Nesting: tfprotov6.SchemaNestedBlockNestingMode(n.Nesting),
			MinItems: n.MinItems, MaxItems: n.MaxItems,
		})
	}
	return block, nil
}
