{{/*
The init container that puts the image's components into the node's store. It activates one where
none is active or where the active one came from an earlier image, and leaves alone what an
administrator made active.
*/}}
{{- define "wharf.provide" -}}
- name: components
  image: {{ include "wharf.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    - provide
    - /usr/share/wharf/components
  securityContext:
    runAsUser: 0
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
  resources:
    # A component is compiled once for each node, in a process of its own.
    requests: {cpu: 100m, memory: 128Mi}
    limits: {memory: 1Gi}
  volumeMounts:
    - {name: config, mountPath: /etc/wharf, readOnly: true}
    - {name: store, mountPath: {{ .Values.hostDirectory }}/store}
{{- end -}}

{{- define "wharf.storeVolume" -}}
- name: store
  {{- if .Values.controller.storeOnNode }}
  # Shared with the driver's pod on this node: what is installed there by hand serves here too.
  hostPath: {path: {{ .Values.hostDirectory }}/store, type: DirectoryOrCreate}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}

{{/* Volumes of keys, of a token and of authorities, as far as they are set. */}}
{{- define "wharf.credentialVolumes" -}}
{{- if .credentials.secret.name }}
- name: keys
  secret:
    secretName: {{ .credentials.secret.name }}
    defaultMode: 0400
    items:
      - {key: {{ .credentials.secret.idKey }}, path: id}
      - {key: {{ .credentials.secret.secretKey }}, path: secret}
{{- end }}
{{- if .rrsa.roleArn }}
- name: rrsa
  projected:
    defaultMode: 0400
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .rrsa.audience }}
          expirationSeconds: 3600
{{- end }}
{{- if .root.Values.cloud.caConfigMap }}
- name: ca
  configMap: {name: {{ .root.Values.cloud.caConfigMap }}}
{{- end }}
{{- end -}}

{{/* One sidecar of one driver. Each has a port of its own, for its health. */}}
{{- define "wharf.sidecar" -}}
{{- $s := .root.Values.sidecars -}}
- name: {{ .driver.key }}-{{ .sidecar }}
  image: {{ include "wharf.sidecarImage" . }}
  imagePullPolicy: {{ $s.pullPolicy }}
  args:
    - --csi-address=/csi/{{ .driver.driver }}/controller.sock
    - --http-endpoint=:{{ .port }}
    # Of the replicas one works, for each driver and sidecar.
    - --leader-election
    - --timeout={{ $s.timeout }}
    - --retry-interval-max={{ $s.retryIntervalMax }}
    - --kube-api-qps={{ $s.kubeApiQps }}
    - --kube-api-burst={{ $s.kubeApiBurst }}
    - --v={{ $s.verbosity }}
    {{- if eq .sidecar "resizer" }}
    - --workers={{ $s.workers }}
    # A disk in use grows: what a full one would be refused for is the driver's to say.
    - --handle-volume-inuse-error=false
    {{- else }}
    - --worker-threads={{ $s.workers }}
    {{- end }}
    {{- if eq .sidecar "provisioner" }}
    - --volume-name-prefix={{ (index .root.Values.drivers .driver.key).volumeNamePrefix }}
    {{- if eq .driver.key "disk" }}
    # A disk has a zone. Strict: where the claim waits for a pod, only that node's zone counts.
    - --feature-gates=Topology=true
    - --strict-topology
    # Without a file system type in the class, kubelet would not apply fsGroup.
    - --default-fstype=ext4
    # The claim's name, for the disk's tags.
    - --extra-create-metadata
    {{- with .root.Values.drivers.disk.capacity }}
    {{- if .enabled }}
    # What it learns goes with this Deployment, not with the pod.
    - --enable-capacity
    - --capacity-ownerref-level=2
    - --capacity-poll-interval={{ .pollInterval }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- if and (eq .sidecar "attacher") (eq .driver.key "disk") }}
    # PersistentVolumes that name no type, as for the provisioner.
    - --default-fstype=ext4
    {{- end }}
  {{- $capacity := .root.Values.drivers.disk.capacity }}
  {{- if and (eq .sidecar "provisioner") (eq .driver.key "disk") $capacity.enabled }}
  # By which it finds the Deployment.
  env:
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  {{- end }}
  ports:
    - {name: {{ .driver.key }}-{{ trunc 6 .sidecar }}, containerPort: {{ .port }}}
  livenessProbe:
    httpGet: {path: /healthz/leader-election, port: {{ .driver.key }}-{{ trunc 6 .sidecar }}}
    periodSeconds: 20
    timeoutSeconds: 10
    failureThreshold: 3
  securityContext:
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
  resources:
    {{- toYaml $s.resources | nindent 4 }}
  volumeMounts:
    - {name: sockets, mountPath: /csi}
    - {name: api, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end -}}

{{/* What a container needs to make Events: who it is, and its account's token. */}}
{{- define "wharf.eventsEnvironment" -}}
env:
  - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
{{- end -}}

{{/* What a service account's token usually comes with. */}}
{{- define "wharf.apiVolume" -}}
- name: api
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end -}}

{{/* The right to make Events in the release's namespace, for one account. */}}
{{- define "wharf.eventsRole" -}}
---
# Events alone, in this namespace alone: no node can read or change anything with it.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}-events
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "wharf.labels" .root | nindent 4 }}
rules:
  - apiGroups: [""]
    resources: [events]
    verbs: [create, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}-events
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "wharf.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}-events
subjects:
  - kind: ServiceAccount
    name: {{ .name }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
