// Renders a chart as Helm does, and prints its objects as JSON, one array. Every object is decoded
// strictly as the API's own type first, so an unknown or misspelt field is an error.
//
//	render-chart CHART KUBE-VERSION [VALUES.yaml]
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

type rendered struct {
	Notes   string            `json:"notes"`
	Objects []json.RawMessage `json:"objects"`
}

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: render-chart CHART KUBE-VERSION [VALUES.yaml]"))
	}
	result, err := render(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func render(path, version string, valueFiles []string) (*rendered, error) {
	chart, err := loader.Load(path)
	if err != nil {
		return nil, err
	}
	values := map[string]interface{}{}
	for _, file := range valueFiles {
		own, err := chartutil.ReadValuesFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		values = chartutil.CoalesceTables(own, values)
	}
	parsed, err := chartutil.ParseKubeVersion(version)
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *parsed
	if !chartutil.IsCompatibleRange(chart.Metadata.KubeVersion, parsed.String()) {
		return nil, fmt.Errorf("the chart is not for Kubernetes %s", parsed)
	}
	options := chartutil.ReleaseOptions{Name: "wharf", Namespace: "kube-system", Revision: 1, IsInstall: true}
	// Checks the values against values.schema.json.
	all, err := chartutil.ToRenderValues(chart, values, options, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	result := &rendered{Objects: []json.RawMessage{}}
	for _, name := range names {
		if strings.HasSuffix(name, "NOTES.txt") {
			result.Notes = files[name]
			continue
		}
		objects, err := objectsOf(files[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", name, err, files[name])
		}
		result.Objects = append(result.Objects, objects...)
	}
	return result, nil
}

func objectsOf(file string) ([]json.RawMessage, error) {
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []json.RawMessage
	for _, document := range strings.Split("\n"+file, "\n---") {
		object, err := yaml.YAMLToJSONStrict([]byte(document))
		if err != nil {
			return nil, err
		}
		if string(object) == "null" {
			continue
		}
		if _, _, err := strict.Decode(object, nil, nil); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}
