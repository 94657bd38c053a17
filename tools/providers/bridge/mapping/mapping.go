// Package mapping serves a chosen part of a Terraform provider under the names of a Pulumi npm package.
package mapping

import (
	"context"
	"encoding/json"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/spf13/afero"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfgen"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
)

// Fields are the properties of one type whose names or shapes the bridge would not derive as the npm package has them.
type Fields = map[string]*tfbridge.SchemaInfo

// Entry is the place of a Terraform type in the npm package.
type Entry struct {
	Module, Name string
	Fields       Fields
}

// Provider maps the named resources and functions (Terraform name -> place); all others are left out on purpose.
func Provider(p shim.Provider, name, version string, resources, functions map[string]Entry) tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		P: p, Name: name, Version: version, ResourcePrefix: name,
		MetadataInfo: &tfbridge.MetadataInfo{Data: tfbridge.ProviderMetadata(nil)},
		Resources:    map[string]*tfbridge.ResourceInfo{},
		DataSources:  map[string]*tfbridge.DataSourceInfo{},
	}
	for tf, e := range resources {
		info.Resources[tf] = &tfbridge.ResourceInfo{
			Tok: tfbridge.MakeResource(name, e.Module, e.Name), Fields: e.Fields,
		}
	}
	for tf, e := range functions {
		info.DataSources[tf] = &tfbridge.DataSourceInfo{
			Tok: tfbridge.MakeDataSource(name, e.Module, e.Name), Fields: e.Fields,
		}
	}
	ignoreOthers := func(named map[string]Entry) func(string, shim.Resource) bool {
		return func(tf string, _ shim.Resource) bool {
			if _, ok := named[tf]; !ok {
				info.IgnoreMappings = append(info.IgnoreMappings, tf)
			}
			return true
		}
	}
	p.ResourcesMap().Range(ignoreOthers(resources))
	p.DataSourcesMap().Range(ignoreOthers(functions))
	info.SetAutonaming(255, "-")
	return info
}

// Schema is the Pulumi schema of the provider, as JSON.
func Schema(ctx context.Context, info tfbridge.ProviderInfo) ([]byte, error) {
	gen, err := tfgen.NewGenerator(tfgen.GeneratorOptions{
		Package: info.Name, Version: info.Version, Language: tfgen.Schema, ProviderInfo: info,
		Root:          afero.NewMemMapFs(),
		Sink:          diag.DefaultSink(os.Stderr, os.Stderr, diag.FormatOptions{Color: colors.Never}),
		XInMemoryDocs: true, SkipExamples: true,
	})
	if err != nil {
		return nil, err
	}
	out, err := gen.Generate(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out.PackageSpec)
}
