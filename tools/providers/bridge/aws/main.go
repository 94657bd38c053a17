// Serves the resources of the npm package @pulumi/aws 6.x that this project uses, from the executable of the Terraform
// provider (5.x) that lies on this machine.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/proto"
	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"

	"nxnw/bridge/mapping"
)

const (
	executableVar  = "TF_PROVIDER_AWS"
	executableName = "terraform-provider-aws_v5.100.0"
)

// version of the npm package; set by the build.
var version string

func init() { runtime.LockOSThread() } // see start

func main() {
	path, err := findExecutable()
	if err != nil {
		fail(err)
	}
	server, stop, err := start(path)
	if err != nil {
		fail(fmt.Errorf("cannot start the Terraform provider %s: %w", path, err))
	}
	defer stop()

	ctx := context.Background()
	info := mapping.Provider(proto.New(ctx, server), "aws", version, resources, functions)
	// Terraform checks by itself that these blocks come once; its schema does not say so.
	once := func(name string) *tfbridge.SchemaInfo {
		return &tfbridge.SchemaInfo{Name: name, MaxItemsOne: tfbridge.True()}
	}
	info.Config = map[string]*tfbridge.SchemaInfo{
		"assume_role":                   once("assumeRole"),
		"assume_role_with_web_identity": once("assumeRoleWithWebIdentity"),
		"default_tags":                  once("defaultTags"),
		"ignore_tags":                   once("ignoreTags"),
	}
	pfbridge.Main(ctx, info.Name, info, pfbridge.ProviderMetadata{
		XGetSchema: func(ctx context.Context, _ plugin.GetSchemaRequest) ([]byte, error) {
			return mapping.Schema(ctx, info)
		},
	})
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pulumi-resource-aws:", err)
	os.Exit(1)
}

// findExecutable answers what TF_PROVIDER_AWS names, or what lies beside this program.
func findExecutable() (string, error) {
	if path := os.Getenv(executableVar); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s does not name the executable of the Terraform provider for AWS: %w", executableVar, err)
		}
		return path, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside, err := filepath.Glob(filepath.Join(filepath.Dir(self), executableName+"*"))
	if err != nil {
		return "", err
	}
	if len(beside) == 0 {
		return "", fmt.Errorf(
			"there is no Terraform provider for AWS: let %s name the executable of terraform-provider-aws v5.100.0 "+
				"(its release archive has it), or put it into %s as %s",
			executableVar, filepath.Dir(self), executableName)
	}
	return beside[0], nil
}
