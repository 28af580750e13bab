//! Every kind of change by Confluent's name, and which of them break readers.

/// Who can live with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Everybody.
    Compatible,
    /// Readers under the lenient policy.
    Lenient,
    /// Nobody.
    Breaking,
}

macro_rules! rules {
    ($($variant:ident $name:literal $effect:ident;)*) => {
        /// A kind of change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Rule {
            $($variant,)*
        }

        impl Rule {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Confluent's name.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Who can live with it.
            pub(super) fn effect(self) -> Effect {
                match self {
                    $(Self::$variant => Effect::$effect,)*
                }
            }
        }
    };
}

rules! {
    IdChanged "ID_CHANGED" Compatible;
    DescriptionChanged "DESCRIPTION_CHANGED" Compatible;
    TitleChanged "TITLE_CHANGED" Compatible;
    DefaultChanged "DEFAULT_CHANGED" Compatible;
    SchemaAdded "SCHEMA_ADDED" Breaking;
    SchemaRemoved "SCHEMA_REMOVED" Compatible;
    TypeExtended "TYPE_EXTENDED" Compatible;
    TypeNarrowed "TYPE_NARROWED" Breaking;
    TypeChanged "TYPE_CHANGED" Breaking;

    MaxLengthAdded "MAX_LENGTH_ADDED" Breaking;
    MaxLengthRemoved "MAX_LENGTH_REMOVED" Compatible;
    MaxLengthIncreased "MAX_LENGTH_INCREASED" Compatible;
    MaxLengthDecreased "MAX_LENGTH_DECREASED" Breaking;
    MinLengthAdded "MIN_LENGTH_ADDED" Breaking;
    MinLengthRemoved "MIN_LENGTH_REMOVED" Compatible;
    MinLengthIncreased "MIN_LENGTH_INCREASED" Breaking;
    MinLengthDecreased "MIN_LENGTH_DECREASED" Compatible;
    PatternAdded "PATTERN_ADDED" Breaking;
    PatternRemoved "PATTERN_REMOVED" Compatible;
    PatternChanged "PATTERN_CHANGED" Breaking;

    MaximumAdded "MAXIMUM_ADDED" Breaking;
    MaximumRemoved "MAXIMUM_REMOVED" Compatible;
    MaximumIncreased "MAXIMUM_INCREASED" Compatible;
    MaximumDecreased "MAXIMUM_DECREASED" Breaking;
    MinimumAdded "MINIMUM_ADDED" Breaking;
    MinimumRemoved "MINIMUM_REMOVED" Compatible;
    MinimumIncreased "MINIMUM_INCREASED" Breaking;
    MinimumDecreased "MINIMUM_DECREASED" Compatible;
    ExclusiveMaximumAdded "EXCLUSIVE_MAXIMUM_ADDED" Breaking;
    ExclusiveMaximumRemoved "EXCLUSIVE_MAXIMUM_REMOVED" Compatible;
    ExclusiveMaximumIncreased "EXCLUSIVE_MAXIMUM_INCREASED" Compatible;
    ExclusiveMaximumDecreased "EXCLUSIVE_MAXIMUM_DECREASED" Breaking;
    ExclusiveMinimumAdded "EXCLUSIVE_MINIMUM_ADDED" Breaking;
    ExclusiveMinimumRemoved "EXCLUSIVE_MINIMUM_REMOVED" Compatible;
    ExclusiveMinimumIncreased "EXCLUSIVE_MINIMUM_INCREASED" Breaking;
    ExclusiveMinimumDecreased "EXCLUSIVE_MINIMUM_DECREASED" Compatible;
    MultipleOfAdded "MULTIPLE_OF_ADDED" Breaking;
    MultipleOfRemoved "MULTIPLE_OF_REMOVED" Compatible;
    MultipleOfExpanded "MULTIPLE_OF_EXPANDED" Breaking;
    MultipleOfReduced "MULTIPLE_OF_REDUCED" Compatible;
    MultipleOfChanged "MULTIPLE_OF_CHANGED" Breaking;

    RequiredAttributeAdded "REQUIRED_ATTRIBUTE_ADDED" Breaking;
    RequiredAttributeWithDefaultAdded "REQUIRED_ATTRIBUTE_WITH_DEFAULT_ADDED" Compatible;
    RequiredAttributeRemoved "REQUIRED_ATTRIBUTE_REMOVED" Compatible;
    MaxPropertiesAdded "MAX_PROPERTIES_ADDED" Breaking;
    MaxPropertiesRemoved "MAX_PROPERTIES_REMOVED" Compatible;
    MaxPropertiesIncreased "MAX_PROPERTIES_INCREASED" Compatible;
    MaxPropertiesDecreased "MAX_PROPERTIES_DECREASED" Breaking;
    MinPropertiesAdded "MIN_PROPERTIES_ADDED" Breaking;
    MinPropertiesRemoved "MIN_PROPERTIES_REMOVED" Compatible;
    MinPropertiesIncreased "MIN_PROPERTIES_INCREASED" Breaking;
    MinPropertiesDecreased "MIN_PROPERTIES_DECREASED" Compatible;
    AdditionalPropertiesAdded "ADDITIONAL_PROPERTIES_ADDED" Compatible;
    AdditionalPropertiesRemoved "ADDITIONAL_PROPERTIES_REMOVED" Lenient;
    AdditionalPropertiesExtended "ADDITIONAL_PROPERTIES_EXTENDED" Compatible;
    AdditionalPropertiesNarrowed "ADDITIONAL_PROPERTIES_NARROWED" Lenient;
    UnevaluatedPropertiesAdded "UNEVALUATED_PROPERTIES_ADDED" Compatible;
    UnevaluatedPropertiesRemoved "UNEVALUATED_PROPERTIES_REMOVED" Lenient;
    UnevaluatedPropertiesExtended "UNEVALUATED_PROPERTIES_EXTENDED" Compatible;
    UnevaluatedPropertiesNarrowed "UNEVALUATED_PROPERTIES_NARROWED" Lenient;
    DependencyArrayAdded "DEPENDENCY_ARRAY_ADDED" Breaking;
    DependencyArrayRemoved "DEPENDENCY_ARRAY_REMOVED" Compatible;
    DependencyArrayExtended "DEPENDENCY_ARRAY_EXTENDED" Breaking;
    DependencyArrayNarrowed "DEPENDENCY_ARRAY_NARROWED" Compatible;
    DependencyArrayChanged "DEPENDENCY_ARRAY_CHANGED" Breaking;
    DependencySchemaAdded "DEPENDENCY_SCHEMA_ADDED" Breaking;
    DependencySchemaRemoved "DEPENDENCY_SCHEMA_REMOVED" Compatible;
    RequiredPropertyAddedToOpen "REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL" Breaking;
    RequiredPropertyWithDefaultAddedToOpen "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_OPEN_CONTENT_MODEL" Lenient;
    OptionalPropertyAddedToOpen "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL" Lenient;
    PropertyWithEmptySchemaAddedToOpen "PROPERTY_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL" Compatible;
    RequiredPropertyAddedToUnopen "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL" Breaking;
    RequiredPropertyWithDefaultAddedToUnopen "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_UNOPEN_CONTENT_MODEL" Compatible;
    OptionalPropertyAddedToUnopen "OPTIONAL_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL" Compatible;
    PropertyRemovedFromOpen "PROPERTY_REMOVED_FROM_OPEN_CONTENT_MODEL" Compatible;
    PropertyWithFalseRemovedFromClosed "PROPERTY_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL" Compatible;
    PropertyRemovedFromClosed "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL" Lenient;
    PropertyRemovedIsCovered "PROPERTY_REMOVED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL" Compatible;
    PropertyRemovedNotCovered "PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL" Lenient;
    PropertyAddedIsCovered "PROPERTY_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL" Compatible;
    PropertyAddedNotCovered "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL" Lenient;
    ReservedPropertyRemoved "RESERVED_PROPERTY_REMOVED" Breaking;
    ReservedPropertyConflicts "RESERVED_PROPERTY_CONFLICTS_WITH_PROPERTY" Breaking;

    MaxItemsAdded "MAX_ITEMS_ADDED" Breaking;
    MaxItemsRemoved "MAX_ITEMS_REMOVED" Compatible;
    MaxItemsIncreased "MAX_ITEMS_INCREASED" Compatible;
    MaxItemsDecreased "MAX_ITEMS_DECREASED" Breaking;
    MinItemsAdded "MIN_ITEMS_ADDED" Breaking;
    MinItemsRemoved "MIN_ITEMS_REMOVED" Compatible;
    MinItemsIncreased "MIN_ITEMS_INCREASED" Breaking;
    MinItemsDecreased "MIN_ITEMS_DECREASED" Compatible;
    MaxContainsAdded "MAX_CONTAINS_ADDED" Breaking;
    MaxContainsRemoved "MAX_CONTAINS_REMOVED" Compatible;
    MaxContainsIncreased "MAX_CONTAINS_INCREASED" Compatible;
    MaxContainsDecreased "MAX_CONTAINS_DECREASED" Breaking;
    MinContainsAdded "MIN_CONTAINS_ADDED" Breaking;
    MinContainsRemoved "MIN_CONTAINS_REMOVED" Compatible;
    MinContainsIncreased "MIN_CONTAINS_INCREASED" Breaking;
    MinContainsDecreased "MIN_CONTAINS_DECREASED" Compatible;
    UniqueItemsAdded "UNIQUE_ITEMS_ADDED" Breaking;
    UniqueItemsRemoved "UNIQUE_ITEMS_REMOVED" Compatible;
    AdditionalItemsAdded "ADDITIONAL_ITEMS_ADDED" Compatible;
    AdditionalItemsRemoved "ADDITIONAL_ITEMS_REMOVED" Breaking;
    AdditionalItemsExtended "ADDITIONAL_ITEMS_EXTENDED" Compatible;
    AdditionalItemsNarrowed "ADDITIONAL_ITEMS_NARROWED" Breaking;
    UnevaluatedItemsAdded "UNEVALUATED_ITEMS_ADDED" Compatible;
    UnevaluatedItemsRemoved "UNEVALUATED_ITEMS_REMOVED" Breaking;
    UnevaluatedItemsExtended "UNEVALUATED_ITEMS_EXTENDED" Compatible;
    UnevaluatedItemsNarrowed "UNEVALUATED_ITEMS_NARROWED" Breaking;
    ItemAddedToOpen "ITEM_ADDED_TO_OPEN_CONTENT_MODEL" Breaking;
    ItemWithEmptySchemaAddedToOpen "ITEM_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL" Compatible;
    ItemAddedToClosed "ITEM_ADDED_TO_CLOSED_CONTENT_MODEL" Compatible;
    ItemRemovedFromOpen "ITEM_REMOVED_FROM_OPEN_CONTENT_MODEL" Compatible;
    ItemWithFalseRemovedFromClosed "ITEM_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL" Compatible;
    ItemRemovedFromClosed "ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL" Breaking;
    ItemRemovedIsCovered "ITEM_REMOVED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL" Compatible;
    ItemRemovedNotCovered "ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL" Breaking;
    ItemAddedIsCovered "ITEM_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL" Compatible;
    ItemAddedNotCovered "ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL" Breaking;

    EnumArrayExtended "ENUM_ARRAY_EXTENDED" Compatible;
    EnumArrayNarrowed "ENUM_ARRAY_NARROWED" Breaking;
    EnumArrayChanged "ENUM_ARRAY_CHANGED" Breaking;

    CombinedTypeExtended "COMBINED_TYPE_EXTENDED" Compatible;
    CombinedTypeChanged "COMBINED_TYPE_CHANGED" Breaking;
    ProductTypeExtended "PRODUCT_TYPE_EXTENDED" Breaking;
    ProductTypeNarrowed "PRODUCT_TYPE_NARROWED" Compatible;
    SumTypeExtended "SUM_TYPE_EXTENDED" Compatible;
    SumTypeNarrowed "SUM_TYPE_NARROWED" Breaking;
    CombinedTypeSubschemasChanged "COMBINED_TYPE_SUBSCHEMAS_CHANGED" Breaking;
    NotTypeExtended "NOT_TYPE_EXTENDED" Breaking;
    NotTypeNarrowed "NOT_TYPE_NARROWED" Compatible;

    // Not Confluent's: their comparison has no end that it would have to report.
    TooComplex "COMPARISON_TOO_COMPLEX" Breaking;
}
