{{/*
wharf.toml of one role: `controller`, `node`, or `callouts` (FlexVolume, outside of any container).
Each gets no more than its role needs. Strings are written as JSON, which TOML reads alike.
*/}}
{{- define "wharf.toml" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- $v := $root.Values -}}
{{- $signs := include "wharf.signs" (dict "root" $root "role" $role) -}}
state = {{ printf "%s/state" $v.hostDirectory | toJson }}
store = {{ printf "%s/store" $v.hostDirectory | toJson }}
kubelet-root = {{ $v.kubeletRoot | toJson }}

[mounts]
run = {{ printf "%s/mounts" $v.runDirectory | toJson }}
supervisor = "service"
{{- if index $v.events $role }}

[events]
enabled = true
{{- end }}

[endpoint.metadata]
url = {{ $v.cloud.metadataUrl | toJson }}
private = true
{{- if $signs }}
{{- include "wharf.account" (dict "root" $root "role" $role) }}
{{- end }}
{{- range (include "wharf.drivers" $root | fromJson).drivers }}
{{- include (printf "wharf.backend.%s" .key) (dict "root" $root "role" $role) }}

[[backend.{{ .key }}.grant]]
endpoint = "metadata"
paths = ["PUT /latest/api/token", "GET /latest/dynamic/instance-identity/document"]

[driver.{{ .driver | toJson }}]
backend = {{ .key | toJson }}
{{- if eq $role "callouts" }}
flexvolume = [{{ .flexvolume | toJson }}]
{{- else if eq $role "node" }}
{{- with (index $v.drivers .key).secretAttributes }}
secret-attributes = {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq $role "callouts" }}
{{- include "wharf.callouts" $root }}
{{- end }}
{{- with $v.extraConfig }}

{{ . | trim }}
{{- end }}
{{ end -}}

{{/* "yes" where this role sends signed requests. */}}
{{- define "wharf.signs" -}}
{{- $d := .root.Values.drivers -}}
{{- if eq .role "node" -}}
{{- if and $d.disk.enabled (kindIs "invalid" $d.disk.maxVolumes) -}}yes{{- end -}}
{{- else if or $d.disk.enabled (and $d.nas.enabled $d.nas.api) (and $d.oss.enabled $d.oss.buckets.enabled (eq .role "controller")) -}}
yes
{{- end -}}
{{- end -}}

{{- define "wharf.region" -}}
{{- required "cloud.region is not set: say which region the cluster is in, for example --set cloud.region=cn-hangzhou" .Values.cloud.region -}}
{{- end -}}

{{/* One endpoint of the cloud: `name`, `vpc` and `public` host names. */}}
{{- define "wharf.endpoint" -}}
{{- $v := .root.Values -}}
{{- $own := index $v.cloud.endpoints .name -}}
{{- $isVpc := eq $v.cloud.network "vpc" -}}
{{- $url := $own.url -}}
{{- if not $url -}}
{{- $url = printf "https://%s" (printf (ternary .vpc .public $isVpc) (include "wharf.region" .root)) -}}
{{- end }}

[endpoint.{{ .name }}]
url = {{ $url | toJson }}
private = {{ ternary $isVpc $own.private (kindIs "invalid" $own.private) }}
{{- if .subdomains }}
subdomains = true
{{- end }}
{{- $ca := "" -}}
{{- if eq .role "callouts" -}}{{- $ca = $v.flexvolume.caFile -}}
{{- else if $v.cloud.caConfigMap -}}{{- $ca = "/etc/wharf-ca/ca.pem" -}}
{{- end -}}
{{- if and $ca (hasPrefix "https:" $url) }}
ca = {{ toJson $ca }}
{{- end }}
{{- end -}}

{{/* Sources that are files of the node, for call-outs: a JSON list of lines of TOML. */}}
{{- define "wharf.keyFiles" -}}
{{- $sources := list -}}
{{- range .flexvolume.credentials -}}
{{- if eq . "volumeak" -}}
{{- $sources = append $sources `{ kind = "static", access-key-id = { file = "/etc/.volumeak/akId" }, access-key-secret = { file = "/etc/.volumeak/akSecret" } }` -}}
{{- else if eq . "cloud-config" -}}
{{- $sources = append $sources `{ kind = "cloud-config", content = { file = "/etc/kubernetes/cloud-config.alicloud" }, base64 = "true" }` -}}
{{- $sources = append $sources `{ kind = "cloud-config", content = { file = "/etc/kubernetes/cloud-config" } }` -}}
{{- end -}}
{{- end -}}
{{- toJson $sources -}}
{{- end -}}

{{/* The account `cloud`, with what this role has to sign with. */}}
{{- define "wharf.account" -}}
{{- $v := .root.Values -}}
{{- $sources := list -}}
{{- $endpoints := list -}}
{{- if eq .role "callouts" -}}
{{- $sources = include "wharf.keyFiles" $v | fromJsonArray -}}
{{- if has "ram-role" $v.flexvolume.credentials -}}
{{- $sources = append $sources `{ kind = "ecs-ram-role" }` -}}
{{- $endpoints = append $endpoints `"metadata"` -}}
{{- end -}}
{{- else -}}
{{- $c := ternary $v.credentials $v.nodeCredentials (eq .role "controller") -}}
{{- if $c.secret.name -}}
{{- $sources = append $sources `{ kind = "static", access-key-id = { file = "/etc/wharf-keys/id" }, access-key-secret = { file = "/etc/wharf-keys/secret" } }` -}}
{{- else if and (eq .role "controller") $c.rrsa.roleArn -}}
{{- $sources = append $sources (printf `{ kind = "oidc", role-arn = %s, oidc-provider-arn = %s, token = { file = "/etc/wharf-rrsa/token" } }` (toJson $c.rrsa.roleArn) (required "credentials.rrsa.providerArn is not set" $c.rrsa.providerArn | toJson)) -}}
{{- $endpoints = append $endpoints `"sts"` -}}
{{- include "wharf.endpoint" (dict "root" .root "role" .role "name" "sts" "vpc" "sts-vpc.%s.aliyuncs.com" "public" "sts.%s.aliyuncs.com") -}}
{{- else if $c.ramRole.enabled -}}
{{- $role := "" -}}
{{- if $c.ramRole.name -}}{{- $role = printf ", role = %s" (toJson $c.ramRole.name) -}}{{- end -}}
{{- $sources = append $sources (printf `{ kind = "ecs-ram-role"%s }` $role) -}}
{{- $endpoints = append $endpoints `"metadata"` -}}
{{- end -}}
{{- end -}}
{{- if not $sources -}}
{{- fail (printf "the %s has nothing to sign with: set %s" .role (ternary "credentials.secret.name, credentials.rrsa or credentials.ramRole.enabled" "nodeCredentials, or drivers.disk.maxVolumes, with which nodes sign nothing" (eq .role "controller"))) -}}
{{- end }}

[account.cloud]
component = "auth"
endpoints = [{{ join ", " $endpoints }}]
source = [
{{- range $sources }}
  {{ . }},
{{- end }}
]
{{- end -}}

{{/* `[backend.NAME.config]`: what the values say, with whatever else is set over it. */}}
{{- define "wharf.settings" -}}
{{- $settings := merge (dict) .own .usual }}

[backend.{{ .name }}.config]
{{- range $key, $value := $settings }}
{{ toJson $key }} = {{ toString $value | toJson }}
{{- end }}
{{- end -}}

{{- define "wharf.backend.disk" -}}
{{- $v := .root.Values -}}
{{- $d := $v.drivers.disk -}}
{{- $settings := dict "region" (include "wharf.region" .root) -}}
{{- if $v.cloud.clusterId -}}{{- $_ := set $settings "cluster-id" $v.cloud.clusterId -}}{{- end -}}
{{- if not (kindIs "invalid" $d.maxVolumes) -}}{{- $_ := set $settings "max-volumes" (int $d.maxVolumes) -}}{{- end -}}
{{- if $d.forceDetach -}}{{- $_ := set $settings "force-detach" "true" -}}{{- end -}}
{{- $signs := include "wharf.signs" . -}}
{{- if $signs -}}
{{- include "wharf.endpoint" (dict "root" .root "role" .role "name" "ecs" "vpc" "ecs-vpc.%s.aliyuncs.com" "public" "ecs.%s.aliyuncs.com") -}}
{{- end -}}
{{- include "wharf.settings" (dict "name" "disk" "own" $d.config "usual" $settings) }}
{{- if $signs }}

[[backend.disk.grant]]
endpoint = "ecs"
account = "cloud"
{{- if eq .role "node" }}
actions = ["DescribeDisks", "DescribeInstanceTypes"]
{{- else }}
actions = ["AttachDisk", "CreateDisk", "DeleteDisk", "DescribeAvailableResource", "DescribeDisks", "DescribeInstanceTypes", "DetachDisk", "ModifyDiskAttribute", "ModifyDiskSpec", "ResizeDisk", "TagResources", "UntagResources"]
{{- end }}
{{- end }}
{{- if ne .role "controller" }}

[backend.disk.node]
steps = ["find-device", "check", "format", "grow", "mount-device", "mount-staged", "set-block-queue", "block-device"]
filesystems = {{ toJson $d.filesystems }}
block-queue = {{ toJson $d.blockQueue }}
{{- end }}
{{- end -}}

{{- define "wharf.backend.nas" -}}
{{- $d := .root.Values.drivers.nas -}}
{{- $signs := and $d.api (ne .role "node") -}}
{{- if $signs -}}
{{- include "wharf.endpoint" (dict "root" .root "role" .role "name" "nas" "vpc" "nas-vpc.%s.aliyuncs.com" "public" "nas.%s.aliyuncs.com") -}}
{{- end -}}
{{- include "wharf.settings" (dict "name" "nas" "own" $d.config "usual" (dict)) }}
{{- if $signs }}

[[backend.nas.grant]]
endpoint = "nas"
account = "cloud"
actions = ["CancelDirQuota", "CreateAccessPoint", "CreateFileSystem", "CreateMountTarget", "DeleteAccessPoint", "DeleteFileSystem", "DeleteMountTarget", "DescribeAccessPoints", "DescribeDirQuotas", "DescribeFileSystems", "SetDirQuota"]
{{- end }}
{{- if or (ne .role "controller") $d.directories }}

[backend.nas.node]
steps = ["mount-nfs", "make-directory", "set-ownership", "move-aside", "remove-tree"]
nfs = { servers = {{ toJson $d.servers }} }
{{- end }}
{{- end -}}

{{- define "wharf.backend.oss" -}}
{{- $v := .root.Values -}}
{{- $d := $v.drivers.oss -}}
{{- $settings := dict "region" (include "wharf.region" .root) -}}
{{- if eq $v.cloud.network "public" -}}{{- $_ := set $settings "network" "public" -}}{{- end -}}
{{- $buckets := and $d.buckets.enabled (eq .role "controller") -}}
{{- if $buckets -}}
{{- include "wharf.endpoint" (dict "root" .root "role" .role "name" "oss" "vpc" "oss-%s-internal.aliyuncs.com" "public" "oss-%s.aliyuncs.com" "subdomains" true) -}}
{{- end -}}
{{- if ne .role "controller" }}

[account.oss-keys]
component = "auth"
source = [
  { kind = "call" },
{{- if eq .role "callouts" }}
{{- /* As the earlier plugin: the files, where a volume brings no keys; never the RAM role. */}}
{{- range (include "wharf.keyFiles" $v | fromJsonArray) }}
  {{ . }},
{{- end }}
{{- end }}
]
{{- if $d.sts }}

[account.oss-sts]
component = "auth"
endpoints = ["metadata"]
source = [{ kind = "ecs-ram-role" }]
{{- end }}
{{- if and $d.rrsa.roleArn (eq .role "node") }}
{{- include "wharf.endpoint" (dict "root" .root "role" .role "name" "sts" "vpc" "sts-vpc.%s.aliyuncs.com" "public" "sts.%s.aliyuncs.com") }}

[account.oss-rrsa]
component = "auth"
endpoints = ["sts"]
source = [{ kind = "oidc", role-arn = {{ toJson $d.rrsa.roleArn }}, oidc-provider-arn = {{ required "drivers.oss.rrsa.providerArn is not set" $d.rrsa.providerArn | toJson }}, token = { file = "/etc/wharf-rrsa/token" } }]
{{- end }}
{{- end }}
{{- include "wharf.settings" (dict "name" "oss" "own" $d.config "usual" $settings) }}
{{- if $buckets }}
{{- $name := printf "%s*" $d.buckets.prefix }}

[[backend.oss.grant]]
endpoint = "oss"
account = "cloud"
paths = [
    {{ printf "DELETE %s?uploadId" $name | toJson }},
    {{ printf `"GET %s?encoding-type&max-keys&max-uploads&prefix&tagging&uploads"` $name }},
    {{ printf "POST %s?delete" $name | toJson }},
    {{ printf "PUT %s?tagging" $name | toJson }},
]
{{- end }}
{{- if ne .role "controller" }}

[backend.oss.node]
steps = ["mount-fuse", "mount-staged"]

[backend.oss.node.helpers]
{{- $memory := "" }}
{{- if not (kindIs "invalid" $d.helperMemoryMiB) }}{{ $memory = printf ", memory-mib = %d" (int $d.helperMemoryMiB) }}{{ end }}
{{- $accounts := list "oss-keys" }}
{{- if $d.sts }}{{ $accounts = append $accounts "oss-sts" }}{{ end }}
{{- if and $d.rrsa.roleArn (eq .role "node") }}{{ $accounts = append $accounts "oss-rrsa" }}{{ end }}
{{- range $d.helpers }}
{{ . }} = { accounts = {{ ternary (list "oss-keys") $accounts (eq . "s3fs") | toJson }}{{ $memory }} }
{{- end }}
{{- end }}
{{- end -}}

{{- define "wharf.callouts" -}}
{{- $f := .Values.flexvolume }}

[flexvolume]
node-id-prefixes = {{ toJson $f.nodeIdPrefixes }}
secret-options = {{ toJson $f.secretOptions }}
log = {{ toJson $f.logDirectory }}
{{- if $f.kubeletAttaches }}
node-name = "any"
{{- end }}
{{- if and $f.legacyState .Values.drivers.disk.enabled }}
legacy-state = { "alicloud/disk" = "/etc/kubernetes/volumes/disk" }
{{- end }}
{{- with $f.nodes }}

[flexvolume.nodes]
{{- range $name, $id := . }}
{{ toJson $name }} = {{ toJson $id }}
{{- end }}
{{- end }}
{{- with $f.extraConfig }}

{{ . | trim }}
{{- end }}
{{- end -}}
