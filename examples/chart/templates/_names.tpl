{{/* The release's name for objects, at most what a label may have. */}}
{{- define "wharf.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "wharf.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "wharf.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "wharf.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "wharf.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "wharf.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Of one part; a selector can never be changed, so nothing that changes is in it. */}}
{{- define "wharf.selector" -}}
app.kubernetes.io/name: {{ include "wharf.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "wharf.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "wharf.mountsImage" -}}
{{- $own := .Values.mounts.image -}}
{{- $repository := default .Values.image.repository $own.repository -}}
{{- if $own.digest -}}
{{ $repository }}@{{ $own.digest }}
{{- else -}}
{{ $repository }}:{{ default (printf "%s-s3fs" (default .Chart.AppVersion .Values.image.tag)) $own.tag }}
{{- end -}}
{{- end -}}

{{- define "wharf.sidecarImage" -}}
{{- $one := index .root.Values.sidecars .sidecar -}}
{{- $name := printf "%s/csi-%s" .root.Values.sidecars.registry .sidecar -}}
{{- if $one.digest -}}{{ $name }}@{{ $one.digest }}{{- else -}}{{ $name }}:{{ $one.tag }}{{- end -}}
{{- end -}}

{{/* Enabled drivers, in one order, as JSON: name of the value, name of the driver, what it needs. */}}
{{- define "wharf.drivers" -}}
{{- $all := list
  (dict "key" "disk" "driver" "diskplugin.csi.alibabacloud.com" "flexvolume" "alicloud/disk" "attach" true "resize" true)
  (dict "key" "nas" "driver" "nasplugin.csi.alibabacloud.com" "flexvolume" "alicloud/nas" "attach" false "resize" true)
  (dict "key" "oss" "driver" "ossplugin.csi.alibabacloud.com" "flexvolume" "alicloud/oss" "attach" true "resize" false) -}}
{{- $enabled := list -}}
{{- range $all -}}
{{- if (index $.Values.drivers .key).enabled -}}{{- $enabled = append $enabled . -}}{{- end -}}
{{- end -}}
{{- if not $enabled -}}{{- fail "no driver is enabled: set drivers.disk.enabled, drivers.nas.enabled or drivers.oss.enabled" -}}{{- end -}}
{{- dict "drivers" $enabled | toJson -}}
{{- end -}}
