package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"

	"nxnw/bridge/mapping"
)

// Terraform name -> module and class of the npm package.
var resources = map[string]mapping.Entry{
	"aws_vpc":                     {Module: "ec2", Name: "Vpc"},
	"aws_subnet":                  {Module: "ec2", Name: "Subnet"},
	"aws_internet_gateway":        {Module: "ec2", Name: "InternetGateway"},
	"aws_route_table":             {Module: "ec2", Name: "RouteTable"},
	"aws_route_table_association": {Module: "ec2", Name: "RouteTableAssociation"},
	"aws_route":                   {Module: "ec2", Name: "Route"},
	"aws_security_group": {Module: "ec2", Name: "SecurityGroup", Fields: mapping.Fields{
		"ingress": {Name: "ingress"},
		"egress":  {Name: "egress"},
	}},
	"aws_security_group_rule":             {Module: "ec2", Name: "SecurityGroupRule"},
	"aws_vpc_security_group_ingress_rule": {Module: "vpc", Name: "SecurityGroupIngressRule"},
	"aws_vpc_security_group_egress_rule":  {Module: "vpc", Name: "SecurityGroupEgressRule"},
	"aws_key_pair": {Module: "ec2", Name: "KeyPair", Fields: mapping.Fields{
		"key_name": tfbridge.AutoName("keyName", 255, "-"),
	}},
	"aws_launch_template":            {Module: "ec2", Name: "LaunchTemplate"},
	"aws_instance":                   {Module: "ec2", Name: "Instance"},
	"aws_eip":                        {Module: "ec2", Name: "Eip"},
	"aws_eip_association":            {Module: "ec2", Name: "EipAssociation"},
	"aws_ebs_volume":                 {Module: "ebs", Name: "Volume"},
	"aws_volume_attachment":          {Module: "ec2", Name: "VolumeAttachment"},
	"aws_iam_role":                   {Module: "iam", Name: "Role"},
	"aws_iam_instance_profile":       {Module: "iam", Name: "InstanceProfile"},
	"aws_iam_role_policy":            {Module: "iam", Name: "RolePolicy"},
	"aws_iam_role_policy_attachment": {Module: "iam", Name: "RolePolicyAttachment"},
	"aws_iam_policy":                 {Module: "iam", Name: "Policy"},
	"aws_route53_zone":               {Module: "route53", Name: "Zone"},
	"aws_route53_record": {Module: "route53", Name: "Record", Fields: mapping.Fields{
		"name":                       {Name: "name"}, // required: no automatic name
		"alias":                      {Name: "aliases", MaxItemsOne: tfbridge.False()},
		"failover_routing_policy":    {Name: "failoverRoutingPolicies", MaxItemsOne: tfbridge.False()},
		"geolocation_routing_policy": {Name: "geolocationRoutingPolicies", MaxItemsOne: tfbridge.False()},
		"latency_routing_policy":     {Name: "latencyRoutingPolicies", MaxItemsOne: tfbridge.False()},
		"weighted_routing_policy":    {Name: "weightedRoutingPolicies", MaxItemsOne: tfbridge.False()},
	}},
	"aws_route53_health_check": {Module: "route53", Name: "HealthCheck"},
}

// Terraform name -> module and function of the npm package.
var functions = map[string]mapping.Entry{
	"aws_ami":                {Module: "ec2", Name: "getAmi"},
	"aws_vpc":                {Module: "ec2", Name: "getVpc"},
	"aws_subnets":            {Module: "ec2", Name: "getSubnets"},
	"aws_availability_zones": {Module: "index", Name: "getAvailabilityZones"},
	"aws_caller_identity":    {Module: "index", Name: "getCallerIdentity"},
	"aws_region":             {Module: "index", Name: "getRegion"},
	"aws_route53_zone":       {Module: "route53", Name: "getZone"},
}
