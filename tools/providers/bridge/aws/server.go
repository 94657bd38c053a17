package main

import (
	"context"
	"math"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"google.golang.org/grpc"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/vendored/tfplugin5"
)

// tfServer serves what the bridge calls for resources and data sources; the interface it embeds is nil.
type tfServer struct {
	tfprotov6.ProviderServer
	remote tfplugin5.ProviderClient
}

var maxMessage = grpc.MaxCallRecvMsgSize(math.MaxInt32)

// Functions, ephemeral resources, actions and identities are left out: nothing here maps them.
func (s tfServer) GetProviderSchema(
	ctx context.Context, _ *tfprotov6.GetProviderSchemaRequest,
) (*tfprotov6.GetProviderSchemaResponse, error) {
	r, err := s.remote.GetSchema(ctx, &tfplugin5.GetProviderSchema_Request{}, maxMessage)
	if err != nil {
		return nil, err
	}
	res := &tfprotov6.GetProviderSchemaResponse{Diagnostics: diags(r.Diagnostics)}
	if c := r.ServerCapabilities; c != nil {
		res.ServerCapabilities = &tfprotov6.ServerCapabilities{
			PlanDestroy: c.PlanDestroy, GetProviderSchemaOptional: c.GetProviderSchemaOptional,
		}
	}
	if res.Provider, err = tfSchema(r.Provider); err != nil {
		return nil, err
	}
	if res.ProviderMeta, err = tfSchema(r.ProviderMeta); err != nil {
		return nil, err
	}
	if res.ResourceSchemas, err = schemas(r.ResourceSchemas); err != nil {
		return nil, err
	}
	res.DataSourceSchemas, err = schemas(r.DataSourceSchemas)
	return res, err
}

func (s tfServer) ValidateProviderConfig(
	ctx context.Context, q *tfprotov6.ValidateProviderConfigRequest,
) (*tfprotov6.ValidateProviderConfigResponse, error) {
	r, err := s.remote.PrepareProviderConfig(ctx, &tfplugin5.PrepareProviderConfig_Request{
		Config: out(q.Config),
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ValidateProviderConfigResponse{
		PreparedConfig: in(r.PreparedConfig), Diagnostics: diags(r.Diagnostics),
	}, nil
}

func (s tfServer) ConfigureProvider(
	ctx context.Context, q *tfprotov6.ConfigureProviderRequest,
) (*tfprotov6.ConfigureProviderResponse, error) {
	r, err := s.remote.Configure(ctx, &tfplugin5.Configure_Request{
		TerraformVersion: q.TerraformVersion, Config: out(q.Config),
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ConfigureProviderResponse{Diagnostics: diags(r.Diagnostics)}, nil
}

func (s tfServer) StopProvider(
	ctx context.Context, _ *tfprotov6.StopProviderRequest,
) (*tfprotov6.StopProviderResponse, error) {
	r, err := s.remote.Stop(ctx, &tfplugin5.Stop_Request{}, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.StopProviderResponse{Error: r.Error}, nil
}

func (s tfServer) ValidateResourceConfig(
	ctx context.Context, q *tfprotov6.ValidateResourceConfigRequest,
) (*tfprotov6.ValidateResourceConfigResponse, error) {
	r, err := s.remote.ValidateResourceTypeConfig(ctx, &tfplugin5.ValidateResourceTypeConfig_Request{
		TypeName: q.TypeName, Config: out(q.Config),
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ValidateResourceConfigResponse{Diagnostics: diags(r.Diagnostics)}, nil
}

func (s tfServer) ValidateDataResourceConfig(
	ctx context.Context, q *tfprotov6.ValidateDataResourceConfigRequest,
) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	r, err := s.remote.ValidateDataSourceConfig(ctx, &tfplugin5.ValidateDataSourceConfig_Request{
		TypeName: q.TypeName, Config: out(q.Config),
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ValidateDataResourceConfigResponse{Diagnostics: diags(r.Diagnostics)}, nil
}

func (s tfServer) UpgradeResourceState(
	ctx context.Context, q *tfprotov6.UpgradeResourceStateRequest,
) (*tfprotov6.UpgradeResourceStateResponse, error) {
	req := &tfplugin5.UpgradeResourceState_Request{TypeName: q.TypeName, Version: q.Version}
	if q.RawState != nil {
		req.RawState = &tfplugin5.RawState{Json: q.RawState.JSON, Flatmap: q.RawState.Flatmap}
	}
	r, err := s.remote.UpgradeResourceState(ctx, req, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.UpgradeResourceStateResponse{
		UpgradedState: in(r.UpgradedState), Diagnostics: diags(r.Diagnostics),
	}, nil
}

func (s tfServer) ReadResource(
	ctx context.Context, q *tfprotov6.ReadResourceRequest,
) (*tfprotov6.ReadResourceResponse, error) {
	r, err := s.remote.ReadResource(ctx, &tfplugin5.ReadResource_Request{
		TypeName: q.TypeName, CurrentState: out(q.CurrentState),
		Private: q.Private, ProviderMeta: out(q.ProviderMeta),
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ReadResourceResponse{
		NewState: in(r.NewState), Private: r.Private, Diagnostics: diags(r.Diagnostics),
	}, nil
}

func (s tfServer) PlanResourceChange(
	ctx context.Context, q *tfprotov6.PlanResourceChangeRequest,
) (*tfprotov6.PlanResourceChangeResponse, error) {
	r, err := s.remote.PlanResourceChange(ctx, &tfplugin5.PlanResourceChange_Request{
		TypeName: q.TypeName, PriorState: out(q.PriorState),
		ProposedNewState: out(q.ProposedNewState), Config: out(q.Config),
		PriorPrivate: q.PriorPrivate, ProviderMeta: out(q.ProviderMeta),
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	res := &tfprotov6.PlanResourceChangeResponse{
		PlannedState: in(r.PlannedState), PlannedPrivate: r.PlannedPrivate,
		Diagnostics: diags(r.Diagnostics), UnsafeToUseLegacyTypeSystem: r.LegacyTypeSystem,
	}
	for _, p := range r.RequiresReplace {
		res.RequiresReplace = append(res.RequiresReplace, attributePath(p))
	}
	return res, nil
}

func (s tfServer) ApplyResourceChange(
	ctx context.Context, q *tfprotov6.ApplyResourceChangeRequest,
) (*tfprotov6.ApplyResourceChangeResponse, error) {
	r, err := s.remote.ApplyResourceChange(ctx, &tfplugin5.ApplyResourceChange_Request{
		TypeName: q.TypeName, PriorState: out(q.PriorState), PlannedState: out(q.PlannedState), Config: out(q.Config),
		PlannedPrivate: q.PlannedPrivate, ProviderMeta: out(q.ProviderMeta),
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ApplyResourceChangeResponse{
		NewState: in(r.NewState), Private: r.Private,
		Diagnostics: diags(r.Diagnostics), UnsafeToUseLegacyTypeSystem: r.LegacyTypeSystem,
	}, nil
}

func (s tfServer) ImportResourceState(
	ctx context.Context, q *tfprotov6.ImportResourceStateRequest,
) (*tfprotov6.ImportResourceStateResponse, error) {
	r, err := s.remote.ImportResourceState(ctx, &tfplugin5.ImportResourceState_Request{
		TypeName: q.TypeName, Id: q.ID,
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	res := &tfprotov6.ImportResourceStateResponse{Diagnostics: diags(r.Diagnostics)}
	for _, i := range r.ImportedResources {
		res.ImportedResources = append(res.ImportedResources, &tfprotov6.ImportedResource{
			TypeName: i.TypeName, State: in(i.State), Private: i.Private,
		})
	}
	return res, nil
}

func (s tfServer) ReadDataSource(
	ctx context.Context, q *tfprotov6.ReadDataSourceRequest,
) (*tfprotov6.ReadDataSourceResponse, error) {
	r, err := s.remote.ReadDataSource(ctx, &tfplugin5.ReadDataSource_Request{
		TypeName: q.TypeName, Config: out(q.Config), ProviderMeta: out(q.ProviderMeta),
	}, maxMessage)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ReadDataSourceResponse{State: in(r.State), Diagnostics: diags(r.Diagnostics)}, nil
}
