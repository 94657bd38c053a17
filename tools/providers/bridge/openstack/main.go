// Serves the resources of the npm package @pulumi/openstack that this project uses, from the Terraform provider that
// the package was made from (v1.54.1), which is compiled in.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/terraform-provider-openstack/terraform-provider-openstack/openstack"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"

	"nxnw/bridge/mapping"
)

// version of the npm package; set by the build.
var version string

func main() {
	info := mapping.Provider(shim.NewProvider(openstack.Provider()), "openstack", version, resources, functions)
	spec, err := mapping.Schema(context.Background(), info)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-openstack: cannot make its schema:", err)
		os.Exit(1)
	}
	tfbridge.Main(info.Name, info.Version, info, spec)
}
