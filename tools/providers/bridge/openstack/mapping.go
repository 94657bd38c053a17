package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"

	"nxnw/bridge/mapping"
)

// Terraform name -> module and class of the npm package.
var resources = map[string]mapping.Entry{
	"openstack_compute_instance_v2":         {Module: "compute", Name: "Instance"},
	"openstack_compute_keypair_v2":          {Module: "compute", Name: "Keypair"},
	"openstack_compute_flavor_v2":           {Module: "compute", Name: "Flavor"},
	"openstack_compute_interface_attach_v2": {Module: "compute", Name: "InterfaceAttach"},
	"openstack_compute_servergroup_v2": {Module: "compute", Name: "ServerGroup", Fields: mapping.Fields{
		"policies": {Name: "policies", MaxItemsOne: tfbridge.False()},
	}},
	"openstack_compute_volume_attach_v2":        {Module: "compute", Name: "VolumeAttach"},
	"openstack_compute_floatingip_associate_v2": {Module: "compute", Name: "FloatingIpAssociate"},
	"openstack_networking_network_v2":           {Module: "networking", Name: "Network"},
	"openstack_networking_subnet_v2": {Module: "networking", Name: "Subnet", Fields: mapping.Fields{
		"allocation_pool":  {Name: "allocationPools"},
		"allocation_pools": {Name: "allocationPoolsCollection"}, // deprecated
	}},
	"openstack_networking_port_v2":                    {Module: "networking", Name: "Port"},
	"openstack_networking_port_secgroup_associate_v2": {Module: "networking", Name: "PortSecGroupAssociate"},
	"openstack_networking_router_v2":                  {Module: "networking", Name: "Router"},
	"openstack_networking_router_interface_v2":        {Module: "networking", Name: "RouterInterface"},
	"openstack_networking_router_route_v2":            {Module: "networking", Name: "RouterRoute"},
	"openstack_networking_floatingip_v2":              {Module: "networking", Name: "FloatingIp"},
	"openstack_networking_floatingip_associate_v2":    {Module: "networking", Name: "FloatingIpAssociate"},
	"openstack_networking_secgroup_v2":                {Module: "networking", Name: "SecGroup"},
	"openstack_networking_secgroup_rule_v2":           {Module: "networking", Name: "SecGroupRule"},
	"openstack_blockstorage_volume_v3":                {Module: "blockstorage", Name: "Volume"},
	"openstack_blockstorage_volume_attach_v3":         {Module: "blockstorage", Name: "VolumeAttach"},
	"openstack_images_image_v2":                       {Module: "images", Name: "Image"},
	"openstack_dns_zone_v2":                           {Module: "dns", Name: "Zone"},
	"openstack_dns_recordset_v2":                      {Module: "dns", Name: "RecordSet"},
}

// Terraform name -> module and function of the npm package.
var functions = map[string]mapping.Entry{
	"openstack_images_image_v2":               {Module: "images", Name: "getImage"},
	"openstack_images_image_ids_v2":           {Module: "images", Name: "getImageIds"},
	"openstack_compute_flavor_v2":             {Module: "compute", Name: "getFlavor"},
	"openstack_compute_keypair_v2":            {Module: "compute", Name: "getKeypair"},
	"openstack_compute_availability_zones_v2": {Module: "compute", Name: "getAvailabilityZones"},
	"openstack_networking_network_v2":         {Module: "networking", Name: "getNetwork"},
	"openstack_networking_subnet_v2":          {Module: "networking", Name: "getSubnet"},
	"openstack_networking_secgroup_v2":        {Module: "networking", Name: "getSecGroup"},
	"openstack_networking_router_v2":          {Module: "networking", Name: "getRouter"},
	"openstack_networking_floatingip_v2":      {Module: "networking", Name: "getFloatingIp"},
	"openstack_dns_zone_v2":                   {Module: "dns", Name: "getDnsZone"},
	"openstack_identity_auth_scope_v3":        {Module: "identity", Name: "getAuthScope"},
}
