package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"google.golang.org/grpc"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/vendored/tfplugin5"
)

// start runs the executable of a Terraform provider (plugin protocol 5) and speaks to it as a protocol 6 server.
// The function it returns ends the process.
//
// The process gets SIGKILL when this one ends in whatever way. The kernel ties that to the thread that started it, so
// the caller must be on a locked one that lives as long as the program.
func start(path string) (tfprotov6.ProviderServer, func(), error) {
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion:  4,
			MagicCookieKey:   "TF_PLUGIN_MAGIC_COOKIE",
			MagicCookieValue: "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
		},
		VersionedPlugins: map[int]goplugin.PluginSet{5: {"provider": grpcClient{}}},
		Cmd:              cmd,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		Managed:          true,
		Logger: hclog.New(&hclog.LoggerOptions{
			Level: hclog.LevelFromString(os.Getenv("TF_LOG")), Output: os.Stderr,
		}),
	})
	rpc, err := client.Client()
	if err != nil {
		client.Kill()
		return nil, nil, err
	}
	raw, err := rpc.Dispense("provider")
	if err != nil {
		client.Kill()
		return nil, nil, err
	}
	return tfServer{remote: raw.(tfplugin5.ProviderClient)}, client.Kill, nil
}

type grpcClient struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (grpcClient) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is a client only")
}

func (grpcClient) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return tfplugin5.NewProviderClient(conn), nil
}
