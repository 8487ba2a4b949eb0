{{- define "dregutil.fullname" -}}
{{- if contains "dregutil" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-dregutil" (.Release.Name | trunc 31 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "dregutil.selector" -}}
app.kubernetes.io/name: dregutil
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dregutil.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{ include "dregutil.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "dregutil.claim" -}}
{{ .Values.state.existingClaim | default (printf "%s-state" (include "dregutil.fullname" .)) }}
{{- end }}

{{/* A label has at most 63 characters. */}}
{{- define "dregutil.claimLabel" -}}
{{ include "dregutil.claim" . | trunc 63 | trimAll "-." }}
{{- end }}

{{- define "dregutil.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- define "dregutil.hasPolicy" -}}
{{- if or .Values.policy .Values.existingPolicyConfigMap }}true{{ end }}
{{- end }}

{{/* What only several values together make wrong. */}}
{{- define "dregutil.check" -}}
{{- $v := .Values }}
{{- if not $v.image.repository }}{{ fail "image.repository is required: where you pushed the image of dregutil" }}{{ end }}
{{- if and (not $v.registries) (or $v.cleanup.enabled $v.listener.enabled $v.serve.enabled $v.workers.enabled) }}{{ fail "registries is required, such as registries.prod.address=https://registry.example.com" }}{{ end }}
{{- if and $v.defaultRegistry (not (hasKey $v.registries $v.defaultRegistry)) }}{{ fail (printf "defaultRegistry: registries has no %s" $v.defaultRegistry) }}{{ end }}
{{- if and (not $v.defaultRegistry) (gt (len $v.registries) 1) }}{{ fail "defaultRegistry is required: there are several registries" }}{{ end }}
{{- range $name, $part := dict "cleanup" $v.cleanup "listener" $v.listener "serve" $v.serve }}
{{- if and $part.enabled $part.registry (not (hasKey $v.registries $part.registry)) }}{{ fail (printf "%s.registry: registries has no %s" $name $part.registry) }}{{ end }}
{{- if and $part.enabled (not $v.store.url) (not $v.state.persistent) }}{{ fail (printf "state.persistent: without a store, %s needs a volume for its records" $name) }}{{ end }}
{{- end }}
{{- if and $v.policy $v.existingPolicyConfigMap }}{{ fail "policy and existingPolicyConfigMap: give one of them" }}{{ end }}
{{- if and $v.cleanup.enabled (not (include "dregutil.hasPolicy" .)) }}{{ fail "policy is required by cleanup: helm install … --set-file policy=policy.yml" }}{{ end }}
{{- if and $v.cleanup.enabled (eq $v.cleanup.mode "approve") (not $v.store.url) }}{{ fail "cleanup.mode approve needs store.url" }}{{ end }}
{{- if and $v.workers.enabled (not $v.store.url) }}{{ fail "workers need store.url" }}{{ end }}
{{- if and $v.store.migrate.enabled (not $v.store.url) }}{{ fail "store.migrate needs store.url" }}{{ end }}
{{- range $name, $table := $v.workers.schedule }}
{{- if and $v.workers.enabled (eq $table.run "cleanup") (not (include "dregutil.hasPolicy" $)) }}{{ fail (printf "policy is required by workers.schedule.%s: helm install … --set-file policy=policy.yml" $name) }}{{ end }}
{{- end }}
{{- if and $v.listener.enabled (not $v.listener.token.existingSecret) }}{{ fail "listener.token.existingSecret is required: who may report pulls" }}{{ end }}
{{- if $v.serve.enabled }}
{{- if and $v.serve.store.url (not $v.store.url) }}{{ fail "serve.store needs store.url" }}{{ end }}
{{- if not $v.serve.host }}{{ fail "serve.host is required: the name in the browser's address" }}{{ end }}
{{- if not $v.serve.login.issuer }}{{ fail "serve.login.issuer is required" }}{{ end }}
{{- if not $v.serve.login.emailDomains }}{{ fail "serve.login.emailDomains is required: whose users may log in" }}{{ end }}
{{- if not $v.serve.login.existingSecret }}{{ fail "serve.login.existingSecret is required" }}{{ end }}
{{- end }}
{{- end }}

{{- define "dregutil.metadata" -}}
{{- include "dregutil.labels" .root }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{/* What every pod has. */}}
{{- define "dregutil.anyPod" -}}
{{- $v := .Values -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $v.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with $v.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/* `shared`: with the volume of the records; `account`: with a service account that may list. */}}
{{- define "dregutil.pod" -}}
{{- $v := .root.Values -}}
serviceAccountName: {{ include "dregutil.fullname" .root }}
automountServiceAccountToken: {{ and .account $v.inUse.enabled }}
{{ include "dregutil.anyPod" .root }}
{{- if and .shared $v.state.persistent (eq $v.state.accessMode "ReadWriteOnce") }}
# The volume with the records can be mounted on one node only.
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector: {matchLabels: {dregutil-state: {{ include "dregutil.claimLabel" .root }}}}
{{- end }}
{{- end }}

{{- define "dregutil.podLabels" -}}
{{- include "dregutil.selector" .root }}
app.kubernetes.io/component: {{ .part }}
{{- if and .shared .root.Values.state.persistent }}
dregutil-state: {{ include "dregutil.claimLabel" .root }}
{{- end }}
{{- end }}

{{- define "dregutil.podAnnotations" -}}
checksum/config: {{ printf "%s%s" (include "dregutil.config" .root) .root.Values.policy | sha256sum }}
{{- with .root.Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dregutil.restricted" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* As YAML: the store's URL, secret and key of a part, which may have `own` ones. */}}
{{- define "dregutil.store" -}}
{{- $own := .own | default dict -}}
{{- $store := .root.Values.store -}}
url: {{ $own.url | default $store.url | quote }}
existingSecret: {{ $own.existingSecret | default $store.existingSecret | quote }}
key: {{ ternary $own.key $store.key (not (empty $own.existingSecret)) | quote }}
{{- end }}

{{/* The environment, the mounts: `policy`, `credentials` say whether the container gets them. */}}
{{- define "dregutil.environment" -}}
{{- $v := .root.Values -}}
{{- $store := include "dregutil.store" . | fromYaml -}}
image: {{ include "dregutil.image" .root | quote }}
imagePullPolicy: {{ $v.image.pullPolicy }}
command: [dregutil]
{{ include "dregutil.restricted" . }}
env:
  - {name: DREGUTIL_CONFIG, value: /etc/dregutil/config.toml}
  - {name: DREGUTIL_STATE_DIR, value: /state}
  - {name: HOME, value: /state}
  {{- if and .credentials $v.credentials.existingSecret }}
  - {name: REGISTRY_AUTH_FILE, value: /credentials/config.json}
  {{- end }}
  {{- if $v.caBundle.existingConfigMap }}
  - {name: REQUESTS_CA_BUNDLE, value: /ca/ca.crt}
  {{- end }}
  {{- if $store.url }}
  - {name: DREGUTIL_STORE, value: {{ $store.url | quote }}}
  {{- if $store.existingSecret }}
  - {name: DREGUTIL_STORE_PASSWORD_FILE, value: /store/password}
  {{- end }}
  {{- end }}
  {{- with $v.env }}
  {{- include "dregutil.variables" . | trim | nindent 2 }}
  {{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/dregutil/config.toml, subPath: config.toml, readOnly: true}
  {{- if and .policy (include "dregutil.hasPolicy" .root) }}
  - {name: policy, mountPath: /etc/dregutil/policy, readOnly: true}
  {{- end }}
  - {name: state, mountPath: /state}
  - {name: tmp, mountPath: /tmp}
  {{- if and .credentials $v.credentials.existingSecret }}
  - {name: credentials, mountPath: /credentials, readOnly: true}
  {{- end }}
  {{- if $v.caBundle.existingConfigMap }}
  - {name: ca, mountPath: /ca, readOnly: true}
  {{- end }}
  {{- if and $store.url $store.existingSecret }}
  - {name: store, mountPath: /store, readOnly: true}
  {{- end }}
{{- end }}

{{- define "dregutil.variables" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "dregutil.volumes" -}}
{{- $v := .root.Values -}}
{{- $store := include "dregutil.store" . | fromYaml -}}
- {name: config, configMap: {name: {{ include "dregutil.fullname" .root }}-config, defaultMode: 0444}}
{{- if and .policy (include "dregutil.hasPolicy" .root) }}
- {name: policy, configMap: {name: {{ $v.existingPolicyConfigMap | default (printf "%s-policy" (include "dregutil.fullname" .root)) }}, defaultMode: 0444}}
{{- end }}
{{- if and .shared $v.state.persistent }}
- {name: state, persistentVolumeClaim: {claimName: {{ include "dregutil.claim" .root }}}}
{{- else }}
- {name: state, emptyDir: {}}
{{- end }}
- {name: tmp, emptyDir: {}}
{{- if and .credentials $v.credentials.existingSecret }}
- {name: credentials, secret: {secretName: {{ $v.credentials.existingSecret }}, defaultMode: 0440, items: [{key: {{ $v.credentials.key }}, path: config.json}]}}
{{- end }}
{{- if $v.caBundle.existingConfigMap }}
- {name: ca, configMap: {name: {{ $v.caBundle.existingConfigMap }}, defaultMode: 0444, items: [{key: {{ $v.caBundle.key }}, path: ca.crt}]}}
{{- end }}
{{- if and $store.url $store.existingSecret }}
- {name: store, secret: {secretName: {{ $store.existingSecret }}, defaultMode: 0440, items: [{key: {{ $store.key }}, path: password}]}}
{{- end }}
{{- end }}

{{/* A table of the configuration file. A string of JSON is one of TOML; a number without a fraction stays whole. */}}
{{- define "dregutil.toml" -}}
{{- range $key, $value := . }}
{{ $key }} = {{ $value | toJson }}
{{- end }}
{{- end }}

{{- define "dregutil.config" -}}
{{- with .Values.defaultRegistry | default (join "" (keys .Values.registries)) -}}
default = {{ . | toJson }}
{{ end }}
{{- range $name, $table := .Values.registries }}
[registries.{{ $name }}]
{{- include "dregutil.toml" $table }}
{{ end }}
{{- if .Values.workers.enabled }}
{{- range $name, $table := .Values.workers.schedule }}
[schedule.{{ $name }}]
{{- include "dregutil.toml" $table }}
{{ end }}
{{- end }}
{{- end }}
